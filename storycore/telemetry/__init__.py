"""Telemetry: what a store has counted, for Prometheus and OpenTelemetry.

``storycore.telemetry.prometheus`` and ``storycore.telemetry.opentelemetry`` hand it on; each needs its extra.
"""
