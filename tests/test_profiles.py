"""Profiles: where settings come from, what wins, what is refused, and what is never shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, SecretStr

from storycore.errors import ConfigError
from storycore.hooks import hookimpl
from storycore.plugins import Adapter, Plugins
from storycore.ports.lifecycle import PortName
from storycore.profiles import PortSettings, Profile, describe, load, missing_adapters, resolve


class FileConfig(BaseModel):
    """Settings as of an adapter that keeps a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = ""
    durability: str = "full"
    size: int = 1
    api_key: SecretStr | None = None


class ServerConfig(BaseModel):
    """Settings as of an adapter that speaks to a server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "localhost"
    port: int = 6379
    username: str = ""
    password: str = ""
    db: int = 0
    timeout: float = 1.0


FILE = Adapter(name="file", ports={PortName.ENTITIES: "m:f"}, config=FileConfig)
SERVER = Adapter(name="server", ports={PortName.CACHE: "m:f"}, config=ServerConfig, url_path="db")


def loaded(
    tmp_path: Path,
    profile: str | Path | None = None,
    *,
    toml: str = "",
    environ: Mapping[str, str] | None = None,
    **overrides: object,
) -> Profile:
    """Load with nothing but what the test gives."""
    if toml:
        (tmp_path / "storycore.toml").write_text(toml, encoding="utf-8")
    return load(profile, environ=environ or {}, cwd=tmp_path, overrides=overrides)


def file_config(**options: object) -> Any:
    """What the file adapter would be opened with."""
    url = str(options.pop("url", ""))
    return resolve(PortSettings(adapter="file", url=url, options=options), FILE, PortName.ENTITIES, environ={})


def origin(profile: Profile, path: str) -> str:
    """Where a setting's value came from."""
    return next(line.origin for line in describe(profile) if line.path == path)


def test_local_is_what_is_taken_when_nothing_is_said(tmp_path: Path) -> None:
    """Without file and environment the local profile keeps everything below ./storycore-data."""
    profile = loaded(tmp_path)
    assert ("local", tmp_path / "storycore-data") == (profile.name, profile.dir)
    assert f"sqlite:///{tmp_path}/storycore-data/entities.db" == profile.entities.url
    assert profile.adapter_names() == ["sqlite", "diskcache", "faiss", "files", "minilm"]


def test_the_aws_profile_names_the_production_services(tmp_path: Path) -> None:
    """Each port of the built-in profile aws has its service."""
    assert loaded(tmp_path, "aws").adapter_names() == ["dynamodb", "redis", "pinecone", "s3", "bedrock"]


def test_one_error_names_all_missing_adapters_and_their_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters that are not installed are reported together, with one command that installs them."""
    monkeypatch.setattr(
        "storycore.profiles.resolving.EXTRAS", {"aws": frozenset({"ghost"}), "local": frozenset({"spook"})}
    )
    problem = missing_adapters(loaded(tmp_path, "aws", cache="spook://", events="ghost://x"), Plugins())
    assert problem is not None
    assert problem.cure == "pip install 'storycore[ghost,spook]'"
    assert problem.cure in problem.message


def test_an_adapter_that_nobody_ships_is_reported_with_the_nearest_name(tmp_path: Path) -> None:
    """A mistyped adapter is recognised."""
    problem = missing_adapters(loaded(tmp_path, "memory", cache="memori://"), Plugins())
    assert problem is not None
    assert problem.suggestion == "memory"


def test_nothing_is_missing_in_the_memory_profile(tmp_path: Path) -> None:
    """The reference adapters come with the core."""
    assert missing_adapters(loaded(tmp_path, "memory"), Plugins()) is None


@pytest.mark.parametrize(
    ("argument", "environ", "default", "expected"),
    [
        ("memory", {"STORYCORE_PROFILE": "aws"}, "dev", "memory"),
        (None, {"STORYCORE_PROFILE": "aws"}, "dev", "aws"),
        (None, {"STORYCORE_PROFILE": ""}, "dev", "dev"),
        (None, {}, "dev", "dev"),
    ],
)
def test_argument_then_variable_then_file_choose_the_profile(
    tmp_path: Path, argument: str | None, environ: dict[str, str], default: str, expected: str
) -> None:
    """The profile is chosen by the argument, else STORYCORE_PROFILE, else the file's default."""
    toml = f'default = "{default}"\n[profile.dev]\nextends = "memory"\n'
    assert expected == loaded(tmp_path, argument, toml=toml, environ=environ).name


def test_the_file_can_be_named_by_path_folder_or_variable(tmp_path: Path) -> None:
    """A path to the file, to its folder, and STORYCORE_CONFIG all find it; a relative dir is relative to the file."""
    place = tmp_path / "conf"
    place.mkdir()
    file = place / "storycore.toml"
    file.write_text('default = "dev"\n[profile.dev]\nextends = "memory"\ndir = "data"\n')
    by_path = load(file, environ={}, cwd=tmp_path)
    assert place / "data" == by_path.dir
    assert by_path == load(str(place) + "/", environ={}, cwd=tmp_path)
    assert by_path == load(environ={"STORYCORE_CONFIG": str(file)}, cwd=tmp_path)


def test_each_source_wins_over_the_one_below_it(tmp_path: Path) -> None:
    """Code, environment, profile, extended profile, built-in profile: in this order."""
    toml = """
        [profile.base]
        extends = "memory"
        namespace = "base"
        vectors = "one://"
        blobs = "one://"
        [profile.dev]
        extends = "base"
        cache = "two://"
        blobs = "two://"
    """
    environ = {"STORYCORE__CACHE": "three://", "STORYCORE__EVENTS": "three://"}
    profile = loaded(tmp_path, "dev", toml=toml, environ=environ, events="four://")
    found = {port: (profile.port(port).adapter, origin(profile, f"{port}.url")) for port in PortName}
    assert found == {
        PortName.ENTITIES: ("memory", "built-in profile 'memory'"),
        PortName.CACHE: ("three", "environment STORYCORE__CACHE"),
        PortName.VECTORS: ("one", "storycore.toml [profile.base]"),
        PortName.BLOBS: ("two", "storycore.toml [profile.dev]"),
        PortName.EVENTS: ("four", "code"),
        PortName.EMBEDDER: ("memory", "built-in profile 'memory'"),
        PortName.RERANKER: ("memory", "built-in profile 'memory'"),
    }
    assert (profile.namespace, origin(profile, "namespace")) == ("base", "storycore.toml [profile.base]")


def test_naming_a_url_forgets_the_options_of_another_adapter(tmp_path: Path) -> None:
    """Options are added to what is inherited, but never handed to an adapter they were not meant for."""
    toml = """
        [profile.base]
        extends = "memory"
        [profile.base.cache]
        url = "server://h"
        timeout = 5
        layers = ["retry"]
        [profile.dev]
        extends = "base"
        [profile.dev.cache]
        db = 3
        [profile.other]
        extends = "base"
        cache = "file:///x"
    """
    dev = loaded(tmp_path, "dev", toml=toml).cache
    assert (dev.url, dev.options) == ("server://h", {"timeout": 5, "db": 3})
    other = loaded(tmp_path, "other").cache
    assert (other.url, other.options) == ("file:///x", {})
    assert [layer.use for layer in other.layers] == ["retry"]


def test_a_profile_of_a_builtin_name_extends_the_builtin(tmp_path: Path) -> None:
    """[profile.local] only says what differs."""
    profile = loaded(tmp_path, "local", toml='[profile.local]\ncache = "memory://"\n')
    assert (profile.cache.adapter, profile.entities.adapter) == ("memory", "sqlite")
    assert loaded(tmp_path, toml='[profile.local]\nextends = "memory"\n').entities.adapter == "memory"


def test_layers_keep_their_order_and_options(tmp_path: Path) -> None:
    """Layers are given by name or as tables."""
    toml = (
        '[profile.dev]\nextends="memory"\n[profile.dev.cache]\nlayers = ["otel", {use = "retry", max_attempts = 5}]\n'
    )
    layers = loaded(tmp_path, "dev", toml=toml).cache.layers
    assert [(each.use, each.options) for each in layers] == [("otel", {}), ("retry", {"max_attempts": 5})]
    by_variable = loaded(tmp_path, "dev", environ={"STORYCORE__CACHE__LAYERS": '[{"use": "timeout", "read": 0.5}]'})
    assert by_variable.cache.layers[0].options == {"read": 0.5}


def test_variables_give_options_lists_and_caching(tmp_path: Path) -> None:
    """STORYCORE__ variables reach every kind of setting; an empty one counts as not set."""
    environ = {
        "STORYCORE__ENTITIES__PATH": "x.db",
        "STORYCORE__REQUIRES": "entities.changes, guarantees.durability>=disk",
        "STORYCORE__CACHING__ENTITIES": "false",
        "STORYCORE__CACHING__L1_MAX_BYTES": "1024",
        "STORYCORE__DIR": "elsewhere",
        "STORYCORE__CACHE": "",
    }
    profile = loaded(tmp_path, "local", environ=environ)
    assert profile.entities.options == {"path": "x.db"}
    assert profile.requires == ("entities.changes", "guarantees.durability>=disk")
    assert (profile.caching.entities, profile.caching.l1_max_bytes) == (False, 1024)
    assert tmp_path / "elsewhere" == profile.dir
    assert profile.cache.adapter == "diskcache"


def test_customary_variables_fill_in_what_nobody_said(tmp_path: Path) -> None:
    """AWS_REGION, PINECONE_API_KEY and REDIS_HOST are options of the adapters that are used, and only of those."""
    environ = {"AWS_REGION": "eu-west-1", "PINECONE_API_KEY": "k", "REDIS_HOST": "cache.internal", "REDIS_PORT": "7"}
    profile = loaded(tmp_path, "aws", environ=environ)
    assert {"region": "eu-west-1"} == profile.entities.options == profile.blobs.options
    assert profile.vectors.options == {"api_key": "k"}
    assert profile.cache.options == {"host": "cache.internal", "port": "7"}
    assert origin(profile, "entities.region") == "environment AWS_REGION"
    assert loaded(tmp_path, "memory", environ=environ).cache.options == {}


def test_customary_variables_never_change_what_was_said(tmp_path: Path) -> None:
    """A region or host that a profile names is not replaced by the one that the machine happens to have set."""
    toml = """
        [profile.prod]
        extends = "aws"
        entities = "dynamodb://t?region=us-east-1"
        cache = "redis://prod:6380"
        blobs = {url = "s3://b", region = "us-west-2"}
    """
    environ = {"AWS_REGION": "eu-west-1", "REDIS_HOST": "localhost", "REDIS_PASSWORD": "pw"}
    profile = loaded(tmp_path, "prod", toml=toml, environ=environ)
    assert profile.entities.options == {}
    assert profile.cache.options == {"password": "pw"}
    assert profile.blobs.options == {"region": "us-west-2"}


@pytest.mark.parametrize("folder", ["plain", "with space", "50%", "a?b#c", "ünï", "a&b=c;d+e", "[x]", "{y}"])
def test_any_folder_can_hold_a_store(tmp_path: Path, folder: str) -> None:
    """The folder in {dir} reaches the adapter unchanged, whatever characters it has."""
    profile = loaded(tmp_path, "local", dir=str(tmp_path / folder), entities="file:///{dir}/e.db")
    config: Any = resolve(profile.entities, FILE, PortName.ENTITIES)
    assert str(tmp_path / folder / "e.db") == config.path


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_any_name_of_a_folder_survives_the_way_through_the_url(name: str) -> None:
    """Whatever a folder is called, the adapter is given that name, not one that merely looks like it."""
    assume(name.strip() not in ("", ".", "..") and "{dir}" not in name)
    profile = load(
        "local", environ={}, cwd=Path("/nowhere"), overrides={"dir": f"/x/{name}", "entities": "file://{dir}/e"}
    )
    config: Any = resolve(profile.entities, FILE, PortName.ENTITIES)
    assert f"/x/{name}/e" == config.path


def test_options_may_hold_the_folder(tmp_path: Path) -> None:
    """{dir} is replaced in options too, in nested ones as well."""
    profile = loaded(tmp_path, "memory", dir="d", cache={"adapter": "file", "path": "{dir}/c", "more": ["{dir}"]})
    assert {"path": f"{tmp_path}/d/c", "more": [f"{tmp_path}/d"]} == profile.cache.options


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///x.db", "x.db"),
        ("file:////abs/x.db", "/abs/x.db"),
        ("file:///a/b%20c.db", "a/b c.db"),
        ("file://Data/x.db", "Data/x.db"),
        ("file:///C:/x.db", "C:/x.db"),
        ("file:///:memory:", ":memory:"),
        ("an_adapter:///x", "x"),
    ],
)
def test_the_path_of_a_url(url: str, path: str) -> None:
    """Three slashes are relative, four absolute; without a server the first part belongs to the path."""
    assert path == file_config(url=url).path


def test_server_and_parameters_of_a_url() -> None:
    """Server, login, path and parameters become options, converted by the adapter's own types."""
    settings_ = PortSettings(adapter="server", url="server://ada:p%40ss@cache:6380/2?timeout=2.5")
    config: Any = resolve(settings_, SERVER, PortName.CACHE, environ={})
    assert ServerConfig(host="cache", port=6380, username="ada", password="p@ss", db=2, timeout=2.5) == config


def test_options_win_over_the_url() -> None:
    """What is given by name is more explicit than what the URL says."""
    config = file_config(url="file:///x?size=2", path="y", size=3)
    assert (config.path, config.size) == ("y", 3)


def test_an_adapter_may_read_its_urls_itself() -> None:
    """A config model with from_url decides what its URLs mean; its ValueError is told as a ConfigError."""

    class Own(FileConfig):
        @classmethod
        def from_url(cls, url: str) -> dict[str, object]:
            if "bad" in url:
                raise ValueError("no such table")
            return {"path": url.upper()}

    adapter = Adapter(name="own", ports={PortName.BLOBS: "m:f"}, config=Own)
    config: Any = resolve(PortSettings(adapter="own", url="own://x"), adapter, PortName.BLOBS)
    assert config.path == "OWN://X"
    with pytest.raises(ConfigError, match="no such table"):
        resolve(PortSettings(adapter="own", url="own://bad"), adapter, PortName.BLOBS)


@pytest.mark.parametrize(
    ("toml", "path", "suggestion"),
    [
        ('defalt = "x"', "defalt", "default"),
        ("[profiles.x]", "profiles", "profile"),
        ('[profile.dev]\nextends="memory"\ncachee="x://"', "profile.dev.cachee", "cache"),
        ('[profile.dev]\nextends="memory"\nvector="x://"', "profile.dev.vector", "vectors"),
        ('[profile.dev]\nextends="memry"', "profile.dev.extends", "memory"),
        (
            '[profile.dev]\nextends="memory"\n[profile.dev.caching]\nentitys=true',
            "profile.dev.caching.entitys",
            "entities",
        ),
        ('[profile.dev]\nextends="memory"\ndir=3', "profile.dev.dir", None),
        ('[profile.dev]\nextends="memory"\ndir="~nobody-of-that-name/x"', "profile.dev.dir", None),
        ('[profile.dev]\nextends="memory"\ndir="a\\u0000b"', "profile.dev.dir", None),
        ('[profile.dev]\nextends="memory"\nrequires="x"', "profile.dev.requires", None),
        ('[profile.dev]\nextends="memory"\ncache=3', "profile.dev.cache", None),
        ('[profile.dev]\nextends="memory"\ncache="no url"', "cache", None),
        ('[profile.dev]\nextends="memory"\ncache={url="a://",adapter="a"}', "profile.dev.cache", None),
        ('[profile.dev]\nextends="memory"\n[profile.dev.cache]\nlayers="x"', "profile.dev.cache.layers", None),
        (
            '[profile.dev]\nextends="memory"\n[profile.dev.cache]\nlayers=[{a=1}]',
            "profile.dev.cache.layers[0].use",
            None,
        ),
        ('[profile.dev]\nextends="dev"', "profile.dev.extends", None),
        ('[profile.dev]\nextends="a"\n[profile.a]\nextends="dev"', "profile.dev.extends", None),
        ('[profile.dev]\ncache="memory://"', "profile.dev.entities", None),
        ('[profile.dev]\nextends="memory"\nnamespace="a b"', "namespace", None),
        (
            '[profile.dev]\nextends="memory"\n[profile.dev.caching]\nentity_ttl_seconds=-1',
            "caching.entity_ttl_seconds",
            None,
        ),
        ("[profile]\ndev=1", "profile.dev", None),
        ("default = 3", "default", None),
        ('[profile.dev]\nextends="memory"\ncache="secret://env/URL"', "cache", None),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, toml: str, path: str, suggestion: str | None) -> None:
    """Every mistake names the setting, and the nearest valid name where one is near."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "dev", toml=toml)
    assert (path, suggestion) == (caught.value.path, caught.value.suggestion)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"x = ", "not valid TOML"), (b"\xff\xfe\x00", "not UTF-8"), (None, "There is no configuration file")],
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None, expected: str) -> None:
    """A file that is missing, binary or broken is an error that names it."""
    file = tmp_path / "my.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=expected) as caught:
        load("my.toml", environ={}, cwd=tmp_path)
    assert str(file) in caught.value.message


@pytest.mark.parametrize(
    ("name", "value", "suggestion"),
    [
        ("STORYCORE__ENTITES__PATH", "x", "STORYCORE__ENTITIES"),
        ("STORYCORE__DIR__X", "x", None),
        ("STORYCORE__CACHE__LAYERS", "{", None),
        ("STORYCORE__CACHE__A__B", "x", None),
        ("STORYCORE__", "x", None),
    ],
)
def test_a_wrong_variable_is_refused(tmp_path: Path, name: str, value: str, suggestion: str | None) -> None:
    """A variable that begins like ours but names no setting is a mistake, not nothing."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, environ={name: value})
    assert (name, suggestion) == (caught.value.path, caught.value.suggestion)


def test_an_empty_name_is_no_profile(tmp_path: Path) -> None:
    """An empty shell variable must not quietly choose the default profile."""
    with pytest.raises(ConfigError, match="There is no profile ''"):
        loaded(tmp_path, "")


def test_an_unknown_profile_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    """The message lists or suggests what exists, those of the file included."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "staginng", toml='[profile.staging]\nextends = "memory"\n')
    assert caught.value.suggestion == "staging"


@pytest.mark.parametrize(
    ("options", "path", "words"),
    [
        ({"durabilty": "x"}, "entities.durabilty", "Did you mean 'durability'"),
        ({"url": "file:///x?durabilty=y"}, "entities.durabilty", "Did you mean 'durability'"),
        ({"size": "many"}, "entities.size", "not 'many'"),
        ({"url": "file:///x?size=1&size=2"}, "entities.size", "twice"),
        ({"url": "file:///x#y"}, "entities", "%23"),
        ({"url": "file://[x/y"}, "entities", "no address"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, object], path: str, words: str) -> None:
    """The adapter's own config has the last word, in storycore's own words."""
    with pytest.raises(ConfigError, match=words) as caught:
        file_config(**options)
    assert path == caught.value.path


def test_a_port_that_the_adapter_does_not_serve_is_refused() -> None:
    """The error says which ports it serves."""
    with pytest.raises(ConfigError, match="serves entities, not cache"):
        resolve(PortSettings(adapter="file"), FILE, PortName.CACHE)


def test_a_path_for_an_adapter_without_one_is_refused() -> None:
    """memory:///x would otherwise look as if x were kept."""
    with pytest.raises(ConfigError, match="takes no path"):
        resolve(PortSettings(adapter="memory", url="memory:///x"), Plugins().adapter("memory"), PortName.CACHE)


def test_secrets_are_fetched_when_the_adapter_is_opened(tmp_path: Path) -> None:
    """From a variable, from a file, from a plugin; never when the profile is loaded."""

    class Vault:
        @hookimpl
        def storycore_secrets(self, reference: str) -> str | None:
            return "from vault" if reference.startswith("secret://vault/") else None

    (tmp_path / "pw").write_text("from file\n")
    found = [
        resolve(
            PortSettings(adapter="server", options={"password": reference}),
            SERVER,
            PortName.CACHE,
            environ={"PW": "from variable"},
            plugins=Plugins([Vault()]),
        )
        for reference in ("secret://env/PW", f"secret://file/{tmp_path}/pw", "secret://vault/pw")
    ]
    assert [config.password for config in found] == ["from variable", "from file", "from vault"]  # type: ignore[attr-defined]  # resolve() promises a BaseModel


@pytest.mark.parametrize(
    "reference", ["secret://env/NOT_SET", "secret://file/no/such", "secret://vault/x", "secret://"]
)
def test_a_secret_that_cannot_be_found_is_named_by_its_setting(reference: str) -> None:
    """The error names the setting and where was looked."""
    with pytest.raises(ConfigError) as caught:
        file_config(api_key=reference)
    assert caught.value.path == "entities.api_key"


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    """Neither repr, nor the description, nor an error, nor what it is chained to holds a secret."""
    secret = "hunter2hunter2"
    cache = {
        "url": f"server://ada:{secret}@h?api_token={secret}",
        "password": secret,
        "nested": {"my_key": secret},
        "credentials": {"x": secret},
    }
    profile = loaded(tmp_path, "memory", cache=cache, entities=f"file:///x?api_key={secret}")
    shown = [repr(profile), str(profile), repr(profile.cache), repr(describe(profile))]
    assert [text for text in shown if secret in text] == []
    assert "server://ada:***@h?api_token=***" in repr(describe(profile))

    class Odd(FileConfig):
        api_key: int  # type: ignore[assignment]  # a field that a text does not fit

    adapter = Adapter(name="odd", ports={PortName.ENTITIES: "m:f"}, config=Odd)
    with pytest.raises(ConfigError) as caught:
        resolve(profile.entities, adapter, PortName.ENTITIES)
    chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert [error for error in chain if secret in repr(error) + str(error)] == []
    assert caught.value.path == "entities.api_key"


def test_a_bad_port_number_does_not_show_the_password() -> None:
    """The standard library's error quotes the address, so it is not passed on."""
    with pytest.raises(ConfigError) as caught:
        resolve(PortSettings(adapter="server", url="server://u:pass/word@h:x"), SERVER, PortName.CACHE)
    assert "word" not in caught.value.message


def test_references_to_secrets_are_shown(tmp_path: Path) -> None:
    """Where a secret is kept is no secret, and worth seeing."""
    profile = loaded(tmp_path, "memory", cache={"adapter": "server", "password": "secret://env/PW"})
    assert "secret://env/PW" in repr(describe(profile))


def test_a_profile_cannot_be_changed(tmp_path: Path) -> None:
    """What a store was opened with stays what it was."""
    with pytest.raises(ValueError, match="frozen"):
        loaded(tmp_path).namespace = "x"  # type: ignore[misc]  # the point of the test


def test_a_profile_may_do_without_a_reranker(tmp_path: Path) -> None:
    """Nothing is said of what is not there; asking for it names the cure."""
    profile = loaded(tmp_path, "local")
    assert (profile.reranker, PortName.RERANKER in profile.ports) == (None, False)
    assert [line.path for line in describe(profile) if line.path.startswith("reranker")] == []
    with pytest.raises(ConfigError, match='add reranker = "memory://"'):
        profile.port(PortName.RERANKER)


def test_a_reranker_is_set_like_any_other_port(tmp_path: Path) -> None:
    """By URL, by table, by environment, with layers; a table without an adapter is refused."""
    profile = loaded(tmp_path, "local", environ={"STORYCORE__RERANKER": "one://"})
    assert (profile.port(PortName.RERANKER).adapter, profile.ports) == ("one", tuple(PortName))
    assert profile.adapter_names()[-1] == "one"
    with pytest.raises(ConfigError, match="reranker"):
        loaded(tmp_path, "local", reranker={"layers": ["retry"]})
