"""The commands that work on a store: what they do to it, what they print, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from storycore.cli.program import run
from storycore.corpus import QUESTIONS

LOCAL = ("sqlite", "diskcache", "faiss", "files")


@dataclass
class Ran:
    """What a command line did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


Storycore = Callable[..., Ran]


@pytest.fixture
def storycore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Storycore:
    """Run a command line on a local layer in ./data whose embedder is the quick one."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STORYCORE")]:
        monkeypatch.delenv(name)
    (tmp_path / "storycore.toml").write_text(
        'default = "quick"\n[profile.quick]\nextends = "local"\ndir = "data"\nembedder = "memory://"\n'
    )

    def call(*arguments: str) -> Ran:
        status = run(arguments)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return call


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A few documents."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "river.md").write_text("# The river\n\nKayaks run the rapids of the James below the old bridge.\n")
    (folder / "bread.txt").write_text("Sourdough bread needs flour, water, salt and patience for a good crust.\n")
    (folder / "trains.txt").write_text("Three railroads cross at one spot, each on a level of its own.\n")
    return folder


def test_init_creates_what_is_missing_once(storycore: Storycore, tmp_path: Path) -> None:
    """A dry run tells and changes nothing, the first run creates, the second finds everything."""
    planned = storycore("init", "--dry-run", "--json")
    assert planned.json["actions"]["entities"]
    assert not (tmp_path / "data").exists()
    assert storycore("init", "--json").json["actions"]["entities"] == planned.json["actions"]["entities"]
    assert (tmp_path / "data" / "entities.db").exists()
    assert not any(storycore("init", "--json").json["actions"].values())
    assert "Nothing was missing" in storycore("init").out


def test_init_names_an_index_of_another_embedder(storycore: Storycore, tmp_path: Path) -> None:
    """What is there and was made otherwise is left so, and told by a dry run, by the run and by what compares."""
    storycore("init")
    other = 'embedder = "memory://?dimension=32"\n'
    (tmp_path / "storycore.toml").write_text(
        f'default = "quick"\n[profile.quick]\nextends = "local"\ndir = "data"\n{other}'
    )
    for arguments in (("--dry-run", "--json"), ("--json",)):
        ran = storycore("init", "--no-warm", *arguments)
        assert ran.status == 0, ran.err
        [difference] = ran.json["differences"]["vectors"]
        assert "32 dimensions" in difference
    assert "vectors  differs: The vector index" in storycore("init", "--no-warm").out
    ran = storycore("search", "anything")
    assert (ran.status, "32 dimensions" in ran.err) == (1, True)


@pytest.mark.parametrize(
    "arguments", [("get", "user", "u"), ("list", "story", "--status", "draft"), ("search", "x"), ("stats",)]
)
def test_without_init_a_command_names_init(storycore: Storycore, arguments: tuple[str, ...]) -> None:
    """A layer that does not exist yet is not created in passing."""
    ran = storycore(*arguments)
    assert ran.status == 1
    assert "storycore init" in ran.err


def test_ingest_then_search_finds_the_passage(storycore: Storycore, docs: Path) -> None:
    """Documents become searchable; a dry run before writes nothing, a second run embeds nothing."""
    storycore("init")
    planned = storycore("ingest", str(docs), "--dry-run", "--json").json["report"]
    assert (len(planned["added"]), storycore("stats", "--json").json["vectors"]["total"]) == (3, 0)
    first = storycore("ingest", str(docs), "--json")
    assert (first.status, sorted(first.json["report"]["added"])) == (0, ["bread.txt", "river.md", "trains.txt"])
    hit = storycore("search", "kayaks on the rapids", "--top-k", "1", "--json").json["hits"][0]
    text = (docs / "river.md").read_text()
    assert hit["source"] == "river.md"
    assert "rapids" in text[hit["start"] : hit["end"]]
    second = storycore("ingest", str(docs), "--json").json["report"]
    assert (second["chunks_embedded"], len(second["unchanged"])) == (0, 3)
    assert "river.md" in storycore("search", "kayaks").out


def test_the_data_of_the_store_is_no_document(storycore: Storycore, docs: Path, tmp_path: Path) -> None:
    """Ingesting the folder in which the store lies gives the documents alone, and so does a second time."""
    storycore("demo", "--docs", str(docs))
    for _ in range(2):
        ran = storycore("ingest", str(tmp_path), "--json")
        assert (ran.status, ran.json["report"]["skipped"]) == (0, [])
    found = ran.json["report"]["unchanged"]
    assert found == ["docs/bread.txt", "docs/river.md", "docs/trains.txt", "storycore.toml"]
    assert storycore("ingest", str(tmp_path / "data"), "--json").json["report"]["added"] == []


def test_no_document_steers_the_terminal(storycore: Storycore, docs: Path) -> None:
    """Signs that a terminal would obey are shown as text, whether they come from a name or from what is in a file."""
    (docs / "odd\x1b[31m.txt").write_text("\x1b]0;another title\x07Kayaks and [bold]canoes[/] on the rapids.\n")
    (docs / "bad\x1b[2J.txt").write_bytes(b"\0")
    storycore("init")
    shown = storycore("ingest", str(docs)).out + storycore("search", "kayaks and canoes").out
    assert all(text in shown for text in ("bad\\x1b[2J.txt", "odd\\x1b[31m.txt", "\\x07Kayaks and [bold]canoes[/]"))
    assert not {"\x1b", "\x07"} & set(shown)


def test_search_takes_filters_and_a_least_score(storycore: Storycore, docs: Path) -> None:
    """--where and --min-score narrow the result; nothing found is no failure; a wrong filter is a mistake."""
    storycore("init")
    storycore("ingest", str(docs))
    only = storycore("search", "kayaks", "--where", '{"source": "bread.txt"}', "--json").json["hits"]
    assert {hit["source"] for hit in only} == {"bread.txt"}
    nothing = storycore("search", "kayaks", "--min-score", "0.99")
    assert (nothing.status, nothing.out) == (0, "Nothing was found.\n")
    assert storycore("search", "kayaks", "--where", '{"x": {"$near": 1}}').status == 2
    assert storycore("search", "  ").status == 2


def test_search_has_modes_namespaces_and_a_reranker(storycore: Storycore, docs: Path) -> None:
    """Each option reaches the search; a reranker that is not there is a mistake of the configuration."""
    storycore("init")
    storycore("ingest", str(docs))
    by_words = storycore("search", "kayaks", "--mode", "words", "--json").json["hits"]
    assert {(hit["source"], hit["parts"]["dense"]) for hit in by_words} == {("river.md", None)}
    [start, end] = by_words[0]["highlights"][0]
    assert by_words[0]["text"][start:end].lower() == "kayaks"
    assert storycore("search", "kayaks", "--namespace", "a", "--namespace", "b").out == "Nothing was found.\n"
    assert len(storycore("search", "kayaks", "--diversity", "0.5", "--top-k", "2", "--json").json["hits"]) == 2
    refused = storycore("search", "kayaks", "--rerank")
    assert (refused.status, "reranker" in refused.err) == (2, True)


def test_the_words_of_a_query_are_shown_in_bold() -> None:
    """On a terminal, in whatever case they stand; signs that would steer it stay text."""
    from rich.console import Console

    from storycore.cli.passages import passage
    from storycore.search import Hit

    text = "\x1b[2J[bold]The Mill[/] burned; mills did not."
    where = (text.index("Mill"), text.index("Mill") + 4)
    names = {"id": "a", "source": "s", "title": "", "section": "", "snippet": text, "text": text}
    hit = Hit(**names, score=1.0, start=0, end=9, metadata={}, highlights=(where,))  # type: ignore[arg-type]  # all text
    shown = StringIO()
    Console(force_terminal=True, color_system="standard", width=200, file=shown).print(passage(1, hit))
    assert "\\x1b[2J[bold]The \x1b[1mMill\x1b[0m[/] burned; mills did not." in shown.getvalue()


def test_search_explains_itself(storycore: Storycore, docs: Path) -> None:
    """The plan instead of the hits, as a table and as JSON, with the time of each step."""
    storycore("init")
    storycore("ingest", str(docs))
    told = storycore("search", "kayaks", "--explain", "--where", '{"source": "river.md"}').out
    assert all(word in told for word in ("hybrid", "60 + rank", "river.md", "dense in default", "ms"))
    plan = storycore("search", "kayaks", "--explain", "--mode", "dense", "--json").json
    assert ([leg["leg"] for leg in plan["legs"]], plan["mode"], plan["fusion"]) == (["dense"], "dense", None)
    assert plan["milliseconds"]["dense"] >= 0


def test_ingest_names_what_it_could_not_read_and_goes_on(storycore: Storycore, docs: Path) -> None:
    """Exit status 3: a binary file is named, the others are searchable."""
    (docs / "photo.jpg").write_bytes(b"\xff\xd8\x00\x01" * 50)
    storycore("init")
    ran = storycore("ingest", str(docs), "--json")
    report = ran.json["report"]
    assert (ran.status, len(report["added"])) == (3, 3)
    assert "photo.jpg" in json.dumps([report["failed"], report["skipped"]])
    assert "photo.jpg" in storycore("ingest", str(docs)).out


def test_ingest_keeps_what_vanished_in_bulk_until_told(storycore: Storycore, docs: Path) -> None:
    """An emptied folder does not empty the index, unless --yes is given."""
    storycore("init")
    storycore("ingest", str(docs))
    for file in sorted(docs.iterdir())[1:]:
        file.unlink()
    careful = storycore("ingest", str(docs), "--json")
    assert (careful.status, len(careful.json["report"]["withheld"])) == (3, 2)
    assert "2 documents are gone but were kept: check the folder; --yes removes them." in (
        storycore("ingest", str(docs)).out
    )
    [problem] = storycore("demo", "--docs", str(docs), "--json").json["ingested"]["problems"]
    assert f"`storycore ingest {docs} --yes`" in problem
    told = storycore("ingest", str(docs), "--yes", "--json")
    assert (told.status, len(told.json["report"]["removed"])) == (0, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are no text")
def test_ingest_promises_no_removal_where_a_folder_was_not_read_whole(storycore: Storycore, docs: Path) -> None:
    """Then --yes would not remove either, so it is not offered."""
    storycore("init")
    storycore("ingest", str(docs))
    (docs / "bread.txt").unlink()
    (docs / "odd\udcff").write_text("A name that is no text.")
    told = storycore("ingest", str(docs), "--yes")
    assert (told.status, "1 documents are gone but were kept" in told.out, "--yes" in told.out) == (3, True, False)


def test_ingest_that_reaches_no_index_has_failed(storycore: Storycore, docs: Path, tmp_path: Path) -> None:
    """A damaged index: status 1, each document is named with the reason."""
    storycore("init")
    (tmp_path / "data" / "vectors.db").write_bytes(b"this is no database" * 1000)
    ran = storycore("ingest", str(docs), "--json")
    assert ran.status == 1
    assert ran.json.get("error") or len(ran.json["report"]["failed"]) == 3


def test_ingest_of_nothing_is_an_error(storycore: Storycore, tmp_path: Path) -> None:
    """A path that does not exist is named."""
    storycore("init")
    ran = storycore("ingest", str(tmp_path / "nowhere"))
    assert ran.status in (1, 2)
    assert "nowhere" in ran.err


@pytest.fixture
def populated(storycore: Storycore, docs: Path) -> Storycore:
    """A layer as the demonstration leaves it."""
    assert storycore("demo", "--docs", str(docs), "--json").status == 0
    return storycore


def test_get_shows_one_entity(populated: Storycore) -> None:
    """By kind and id, as JSON and as text; an unknown id is not found, an unknown kind a mistake."""
    ada = populated("get", "user", "demo-ada", "--json").json["item"]
    assert (ada["username"], ada["stories_created"], ada["stories_published"]) == ("ada", 4, 1)
    assert "ada@example.com" in populated("get", "user", "demo-ada").out
    missing = populated("get", "user", "nobody")
    assert (missing.status, "'nobody'" in missing.err) == (1, True)
    wrong = populated("get", "usr", "demo-ada")
    assert (wrong.status, "Did you mean 'user'?" in wrong.err) == (2, True)


def test_list_chooses_the_index_by_the_values(populated: Storycore) -> None:
    """Users, stories by user, by status, by both, newest first; plurals will do."""
    ids = [item["user_id"] for item in populated("list", "users", "--json").json["items"]]
    assert sorted(ids) == ["demo-ada", "demo-maggie"]
    mine = populated("list", "story", "--user", "demo-ada", "--json").json["items"]
    times = [item["created_at"] for item in mine]
    assert (len(mine), times) == (4, sorted(times, reverse=True))
    published = populated("list", "story", "--user", "demo-ada", "--status", "published", "--json").json["items"]
    assert [item["status"] for item in published] == ["published"]
    assert len(populated("list", "story", "--status", "draft", "--json").json["items"]) == 5
    names = [item["name"] for item in populated("list", "template", "--json").json["items"]]
    assert names == sorted(names)
    assert "demo-ada" in populated("list", "user", "role=registered").out
    content = populated("list", "content", "source=river.md", "--json").json["items"][0]["content_id"]
    assert content in populated("list", "content", "source=river.md").out


def test_list_goes_on_with_a_cursor(populated: Storycore) -> None:
    """Two pages hold everything once, the second leads back; a cursor of another listing is refused."""
    whole = populated("list", "story", "--user", "demo-ada", "--json").json["items"]
    first = populated("list", "story", "--user", "demo-ada", "--limit", "3", "--json").json
    second = populated("list", "story", "--user", "demo-ada", "--cursor", first["cursor"], "--json").json
    assert (first["items"] + second["items"], second["cursor"]) == (whole, None)
    back = populated(
        "list", "story", "--user", "demo-ada", "--limit", "3", "--cursor", second["previous"], "--json"
    ).json
    assert (back["items"], back["previous"]) == (first["items"], None)
    assert "--cursor" in populated("list", "story", "--user", "demo-ada", "--limit", "3").out
    assert populated("list", "story", "--status", "draft", "--cursor", first["cursor"]).status == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "storis"), "Did you mean 'story'?"),
        (("list", "story", "--status", "publshed"), "published"),
        (("list", "story", "titel=x"), "Did you mean 'title'?"),
        (("list", "story", "title"), "NAME=VALUE"),
        (("list", "story", "title=x"), "No index of story lists by title"),
        (("list", "story", "--by", "by_usr", "--user", "x"), "by_user"),
    ],
)
def test_a_listing_that_makes_no_sense_is_refused(storycore: Storycore, arguments: tuple[str, ...], words: str) -> None:
    """Wrong kinds, fields, values and indexes are mistakes that name what is right."""
    ran = storycore(*arguments)
    assert ran.status == 2
    assert words in ran.err


def test_a_listing_without_values_walks_the_store(populated: Storycore) -> None:
    """Where no index lists everything, the store is walked up to the limit."""
    items = populated("list", "story", "--limit", "4", "--json").json
    assert (len(items["items"]), items["cursor"]) == (4, None)
    assert populated("list", "session", "--json").json["items"]


def test_explain_tells_what_a_listing_costs(populated: Storycore) -> None:
    """The partition, the requests and the units; with what is assumed, and the store's own account where it has one."""
    told = populated("explain", "story", "user_id=demo-ada", "--item-bytes", "4096", "--limit", "9", "--json").json
    assert (told["plans"][0]["pk"], told["records"], told["read_units"]) == ("user-stories#demo-ada", 10, 5.0)
    rare = populated("explain", "story", "user_id=demo-ada", "--matches", "0.01", "--no-native", "--json").json
    assert (rare["records"], rare["assumed"], rare["native"]) == (2100, {"item_bytes": 1024, "matches": 0.01}, None)
    shown = populated("explain", "story", "user_id=demo-ada", "status=published").out
    assert "read units" in shown
    assert "The index may lag" in shown
    for arguments, words in (
        (("story",), "Which story?"),
        (("story", "--by", "by_usr"), "Did you mean 'by_user'"),
        (("story", "user_id=u", "--matches", "0"), "--matches"),
    ):
        ran = populated("explain", *arguments)
        assert (ran.status, words in ran.err) == (2, True)


def test_health_tells_of_every_port(populated: Storycore, tmp_path: Path) -> None:
    """All well: status 0. A damaged file: status 1, and the port is named."""
    well = populated("health", "--json")
    assert (well.status, well.json["ok"], len(well.json["health"])) == (0, True, 6)
    assert populated("health", "--deep").status == 0
    (tmp_path / "data" / "vectors.db").write_bytes(b"this is no database" * 1000)
    for beside in ("vectors.db-wal", "vectors.db-shm"):
        (tmp_path / "data" / beside).unlink(missing_ok=True)
    ill = populated("health", "--json")
    assert (ill.status, ill.json["ok"], ill.json["health"]["vectors"]["ok"]) == (1, False, False)
    assert ill.json["health"]["entities"]["ok"]


def test_stats_tell_sizes_and_counts(populated: Storycore) -> None:
    """The index's size, and where everything is, as JSON and as text."""
    document = populated("stats", "--json").json
    assert document["vectors"]["total"] >= 3
    assert {place["port"]: bool(place["size_bytes"]) for place in document["places"]} == {
        "entities": True,
        "cache": True,
        "vectors": True,
        "blobs": True,
        "events": True,
        "embedder": False,
    }
    assert "vectors.total" in populated("stats").out


def test_doctor_finds_what_is_wrong(
    populated: Storycore, storycore: Storycore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order: status 0. Not initialised, or an adapter that is missing or mistyped: status 1 and the cure."""
    well = populated("doctor", "--json")
    assert (well.status, well.json["ok"]) == (0, True)
    fresh = storycore("doctor", "--dir", "elsewhere", "--json")
    cures = json.dumps(fresh.json["findings"])
    assert (fresh.status, "storycore init" in cures) == (1, True)
    _haunt(tmp_path, monkeypatch)
    missing = storycore("doctor", "--profile", "haunted", "--json")
    assert (missing.status, "pip install" in json.dumps(missing.json)) == (1, True)


def test_doctor_finds_an_index_of_another_model(populated: Storycore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that was made with another embedder is not said to agree with it."""
    monkeypatch.setenv("STORYCORE__EMBEDDER__DIMENSION", "64")
    ran = populated("doctor", "--json")
    found = {each["check"]: each["state"] for each in ran.json["findings"]}
    assert (ran.status, found["health.vectors"], found.get("embedding")) == (1, "failed", None)


def test_doctor_reports_a_wrong_setting(storycore: Storycore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that the adapter does not know is found without opening anything."""
    monkeypatch.setenv("STORYCORE__ENTITIES__DURABILTY", "full")
    ran = storycore("doctor", "--json")
    failed = [each for each in ran.json["findings"] if each["state"] == "failed"]
    assert (ran.status, [each["check"] for each in failed]) == (1, ["settings.entities"])
    assert "durability" in failed[0]["detail"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_doctor_finds_a_folder_that_cannot_be_made(storycore: Storycore, tmp_path: Path) -> None:
    """A read-only parent is found before anything is tried."""
    (tmp_path / "closed").mkdir(mode=0o500)
    ran = storycore("doctor", "--dir", "closed/data", "--json")
    assert "cannot be made" in json.dumps(ran.json["findings"])


def test_doctor_finds_a_file_in_the_folders_place(storycore: Storycore, tmp_path: Path) -> None:
    """A file where the folder should be is found before anything is tried."""
    (tmp_path / "data").write_text("not a folder")
    ran = storycore("doctor", "--json")
    assert (ran.status, "is not a folder" in json.dumps(ran.json["findings"])) == (1, True)


def _haunt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile ``haunted``, one of whose adapters could be installed and is not."""
    monkeypatch.setattr("storycore.profiles.resolving.EXTRAS", {"aws": frozenset({"ghost"})})
    monkeypatch.setattr("storycore.plugins._SHIPPED", frozenset({"ghost"}))
    with (folder / "storycore.toml").open("a") as profiles:
        profiles.write('[profile.haunted]\nextends = "local"\nblobs = "ghost://x"\n')


def test_a_missing_adapter_is_one_error_with_its_cure(
    storycore: Storycore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile without one of its adapters: status 2, the name, one command."""
    _haunt(tmp_path, monkeypatch)
    ran = storycore("init", "--profile", "haunted", "--json")
    assert ran.status == 2
    assert ran.json["error"]["code"] == "adapter_not_found"
    assert ran.json["error"]["cure"] == "pip install 'storycore[ghost]'"


def test_the_demonstration_does_the_whole_job(storycore: Storycore) -> None:
    """Creates, ingests the corpus, answers five questions, saves, publishes, lists, and reads from the cache."""
    ran = storycore("demo", "--json")
    told = ran.json
    assert (ran.status, len(told["answers"])) == (0, 5)
    assert told["ingested"]["documents"] >= 12
    assert told["ingested"]["embedded"] > 50
    assert all(answer["hits"][0]["snippet"] for answer in told["answers"])
    assert told["stories"]["saved"] == {"users": 2, "sessions": 2, "templates": 2, "stories": 6}
    listings = told["stories"]["listings"]
    assert [len(listed["titles"]) for listed in listings] == [3, 1, 5, 1]
    assert (listings[0]["cursor"] is None, listings[1]["cursor"]) == (False, None)
    assert [read["answered_by"] for read in told["stories"]["reads"]] == ["store (sqlite)", "cache (memory)"]
    sizes = {place["port"]: place["size_bytes"] for place in told["places"]}
    assert all(sizes[port] for port in ("entities", "vectors", "blobs", "events"))


def test_a_second_demonstration_embeds_nothing_and_says_so(
    storycore: Storycore, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same ids are changed, not added; the text says that nothing was embedded, and fits 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    first = storycore("demo", "--docs", str(docs), "--json").json
    second = storycore("demo", "--docs", str(docs))
    third = storycore("demo", "--docs", str(docs), "--json").json
    assert "nothing was embedded" in second.out
    assert (third["ingested"]["embedded"], third["ingested"]["indexed"]) == (0, first["ingested"]["embedded"])
    assert third["stories"]["listings"][0]["titles"] == first["stories"]["listings"][0]["titles"]
    assert not any(third["created"].values())
    assert len(storycore("list", "user", "--json").json["items"]) == 2
    assert all(len(line) <= 80 for line in second.out.splitlines() if "storycore " not in line)


def test_the_demonstration_asks_about_any_documents(storycore: Storycore, docs: Path) -> None:
    """The questions are made from the documents' own titles and headings."""
    told = storycore("demo", "--docs", str(docs), "--json").json
    questions = [answer["question"] for answer in told["answers"]]
    assert len(questions) == 3
    assert any("river" in question for question in questions)


@pytest.mark.slow
def test_the_demonstration_answers_its_questions(tmp_path: Path) -> None:
    """With the real embedder each question is answered from the document that answers it, within a minute."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "storycore", "demo", "--dir", str(tmp_path / "data"), "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    answers = json.loads(done.stdout)["answers"]
    found = [[hit["source"] for hit in answer["hits"]] for answer in answers]
    assert all(question.source in sources for question, sources in zip(QUESTIONS, found, strict=True))
    assert time.monotonic() - begun < 60


def test_an_interrupted_ingest_goes_on_where_it_stopped(storycore: Storycore, tmp_path: Path) -> None:
    """Ctrl-C: status 130, one line, no traceback; the same command then converges and embeds the rest only."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(80):
        (folder / f"{number:03}.txt").write_text(f"Document number {number} speaks of topic {number * 7}.\n" * 60)
    environ = {**os.environ, "PYTHONPATH": str(_slow_embedder(tmp_path))}
    storycore("init")
    child = subprocess.Popen(
        [sys.executable, "-m", "storycore", "ingest", str(folder)],
        cwd=tmp_path,
        env={**environ, "STORYCORE__EMBEDDER": "acme_slow://"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    calls = tmp_path / "calls"
    while child.poll() is None and (not calls.exists() or calls.stat().st_size < 15):
        time.sleep(0.01)
    time.sleep(0.5)  # the embedder hangs now; what it has done before is written meanwhile
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert (child.returncode, len(err.strip().splitlines())) == (130, 1)
    assert "goes on where it stopped" in err
    report = storycore("ingest", str(folder), "--json").json["report"]
    done = {name: len(report[name]) for name in ("unchanged", "added", "changed")}
    assert min(done["unchanged"], done["added"] + done["changed"]) > 0
    assert sum(done.values()) == 80
    again = storycore("ingest", str(folder), "--json").json["report"]
    assert (again["chunks_embedded"], len(again["unchanged"])) == (0, 80)


def _slow_embedder(place: Path) -> Path:
    """An installed adapter: the quick embedder, telling of each call by a byte in ``calls``; it hangs after some."""
    (place / "acme_slow.py").write_text(
        "import asyncio, pathlib\n"
        "from storycore.hooks import hookimpl\n"
        "from storycore.memory.config import MemoryEmbedderConfig\n"
        "from storycore.plugins import Adapter\n"
        "from storycore.ports.lifecycle import PortName\n"
        "@hookimpl\n"
        "def storycore_adapters():\n"
        "    ports = {PortName.EMBEDDER: 'acme_slow:open_embedder'}\n"
        "    return [Adapter(name='acme_slow', ports=ports, config=MemoryEmbedderConfig)]\n"
        "def open_embedder(config, env):\n"
        "    from storycore.memory.embedder import open_embedder\n"
        "    made = open_embedder(config, env)\n"
        "    quick = made.embed\n"
        "    async def embed(texts, *, purpose):\n"
        "        calls = pathlib.Path('calls')\n"
        "        done = calls.stat().st_size if calls.exists() else 0\n"
        "        await asyncio.sleep(0.1 if done < 15 else 60)\n"
        "        with calls.open('a') as calls:\n"
        "            calls.write('.')\n"
        "        return await quick(texts, purpose=purpose)\n"
        "    made.embed = embed\n"
        "    return made\n"
    )
    info = place / "acme_slow-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme_slow\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[storycore.adapters]\nacme_slow = acme_slow\n")
    return place
