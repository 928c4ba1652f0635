"""Infrastructure: one declaration gives each tool its document, and drift is what differs from it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import storycore
from storycore.cli.program import run
from storycore.errors import InvalidArgument
from storycore.infrastructure import FORMATS, declared, document
from storycore.plugins import Plugins
from storycore.ports.lifecycle import PortName
from storycore.profiles import load

LOFT = """
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, SecretStr

from storycore.hooks import hookimpl
from storycore.memory.entities import MemoryEntityStore
from storycore.plugins import Adapter
from storycore.ports.infrastructure import Infrastructure, Permission, Purpose, Resource
from storycore.ports.lifecycle import PortName, Provision


class LoftConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    room: str = "attic"
    key: SecretStr | None = None
    actions: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


def needs(config):
    room = Resource(
        name="Room",
        identity={"RoomName": config.room},
        arn=f"arn:aws:loft:*:*:room/{config.room}",
        definition={"RoomName": config.room, "Size": 3},
        cloudformation={"Type": "AWS::Loft::Room", "Properties": {"RoomName": config.room, "Size": 3}},
        terraform={"aws_loft_room": {"name": config.room, "size": 3}},
    )
    use = Permission(purpose=Purpose.USE, resource="Room", actions=("loft:Read",), suffixes=("", "/shelf/*"))
    build = Permission(purpose=Purpose.PROVISION, resource="Room", actions=("loft:Build",))
    return Infrastructure(resources=(room,), permissions=(use, build))


class Loft(MemoryEntityStore):
    found = Provision()

    async def ensure(self, *, dry_run=False):
        return self.found


def open_loft(config, env):
    loft = Loft(env)
    loft.found = Provision(config.actions, config.differences)
    return loft


@hookimpl
def storycore_adapters():
    return [
        Adapter(
            name="loft",
            ports={PortName.ENTITIES: "acme_loft:open_loft"},
            config=LoftConfig,
            url_path="room",
            infrastructure="acme_loft:needs",
        )
    ]
"""

PROFILE = """
default = "attic"

[profile.attic]
extends = "memory"
entities = "loft://garret"

[profile.locked]
extends = "memory"
entities = "loft://garret?key=secret://env/NOBODY_HAS_SET_THIS"

[profile.drifted]
extends = "memory"
[profile.drifted.entities]
adapter = "loft"
actions = ["build the room"]
differences = ["the room has 2 windows, not 3"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a profile whose entities need a room in a cloud."""
    info = tmp_path / "acme_loft-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-loft\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[storycore.adapters]\nloft = acme_loft\n")
    (tmp_path / "acme_loft.py").write_text(LOFT)
    (tmp_path / "storycore.toml").write_text(PROFILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("acme_loft", None)


def made(form: str, *, existing: bool = False) -> Any:
    """The document of the profile ``attic``, as a reader of JSON sees it."""
    return json.loads(json.dumps(document(declared(load("attic"), Plugins()), form, existing=existing)))


@pytest.mark.usefixtures("folder")
def test_a_template_of_cloudformation_has_the_resource_and_what_an_application_may_do() -> None:
    """The resource stays when the stack goes; the policy names the resource, not a guess of its address."""
    found = made("cloudformation")
    assert found["Resources"]["EntitiesRoom"] == {
        "Type": "AWS::Loft::Room",
        "Properties": {"RoomName": "garret", "Size": 3},
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
    }
    statement = {
        "Effect": "Allow",
        "Action": ["loft:Read"],
        "Resource": [{"Fn::Sub": "${EntitiesRoom.Arn}"}, {"Fn::Sub": "${EntitiesRoom.Arn}/shelf/*"}],
    }
    assert found["Resources"]["EntitiesPolicy"]["Properties"]["PolicyDocument"]["Statement"] == [statement]
    assert set(found["Outputs"]) == {"EntitiesRoomArn", "EntitiesPolicyArn"}


@pytest.mark.usefixtures("folder")
def test_a_template_for_an_import_has_nothing_new_in_it() -> None:
    """CloudFormation imports resources only when nothing else changes."""
    assert set(made("cloudformation", existing=True)["Resources"]) == {"EntitiesRoom"}


@pytest.mark.usefixtures("folder")
def test_a_configuration_of_terraform_has_the_resource_and_what_an_application_may_do() -> None:
    """Nothing is destroyed by mistake, and the policy follows the resource."""
    found = made("terraform")
    assert found["resource"]["aws_loft_room"] == {
        "entities_room": {"name": "garret", "size": 3, "lifecycle": {"prevent_destroy": True}}
    }
    [statement] = json.loads(found["resource"]["aws_iam_policy"]["entities_policy"]["policy"])["Statement"]
    assert statement["Resource"] == [
        "${aws_loft_room.entities_room.arn}",
        "${aws_loft_room.entities_room.arn}/shelf/*",
    ]
    assert "import" not in found


@pytest.mark.usefixtures("folder")
def test_a_configuration_of_terraform_takes_over_what_exists() -> None:
    """By the name under which the provider knows it."""
    assert made("terraform", existing=True)["import"] == [{"to": "aws_loft_room.entities_room", "id": "garret"}]


@pytest.mark.usefixtures("folder")
def test_the_plain_document_has_the_request_and_both_policies() -> None:
    """For people and for tools that storycore does not know."""
    port = made("json")["ports"]["entities"]
    assert port["resources"]["Room"] == {
        "arn": "arn:aws:loft:*:*:room/garret",
        "identity": {"RoomName": "garret"},
        "definition": {"RoomName": "garret", "Size": 3},
    }
    assert port["policies"]["use"]["Statement"][0]["Resource"] == [
        "arn:aws:loft:*:*:room/garret",
        "arn:aws:loft:*:*:room/garret/shelf/*",
    ]
    assert port["policies"]["provision"]["Statement"][0]["Action"] == ["loft:Build"]


@pytest.mark.usefixtures("folder")
async def test_a_store_gives_the_same_documents() -> None:
    """In a program as on the command line."""
    async with storycore.open("attic") as store:
        assert {form: store.infrastructure(form) for form in FORMATS} == {
            form: document(declared(load("attic"), Plugins()), form) for form in FORMATS
        }
        with pytest.raises(InvalidArgument, match="'terraform'"):
            store.infrastructure("teraform")


@pytest.mark.usefixtures("folder")
def test_nothing_is_looked_up_that_only_opens_doors() -> None:
    """A build has no credentials, and needs none."""
    locked = declared(load("locked"), Plugins())
    assert locked.ports == declared(load("attic"), Plugins()).ports


@pytest.mark.usefixtures("folder")
def test_the_sync_face_gives_the_same() -> None:
    """Both calls, without await."""
    with storycore.open_sync("drifted") as store:
        assert store.infrastructure("terraform") == document(declared(load("drifted"), Plugins()), "terraform")
        assert list(store.drift()) == ["entities"]


@pytest.mark.parametrize("profile", ["memory", "local"])
def test_a_profile_without_a_cloud_declares_nothing(profile: str) -> None:
    """Files are made by `init`, and by no other tool."""
    assert declared(load(profile), Plugins()).is_empty


def test_an_adapter_that_is_not_installed_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its port is named with the cure, the others are still exported."""
    monkeypatch.setattr("storycore.plugins._SHIPPED", frozenset({"ghost"}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "storycore.toml").write_text('[profile.haunted]\nextends = "aws"\nblobs = "ghost://x"\n')
    found = declared(load("haunted"), Plugins())
    assert "pip install 'storycore[ghost]'" in found.missing[PortName.BLOBS]
    assert PortName.ENTITIES not in found.missing


@pytest.mark.usefixtures("folder")
async def test_drift_names_only_ports_that_differ() -> None:
    """What `init` would do, and what it leaves, told apart."""
    async with storycore.open("drifted") as store:
        found = await store.drift()
    assert list(found) == ["entities"]
    assert found["entities"].actions == ("build the room",)
    assert found["entities"].differences == ("the room has 2 windows, not 3",)


@pytest.mark.usefixtures("folder")
def test_the_command_prints_a_document_that_a_tool_can_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but the document goes to stdout."""
    assert run(["infrastructure", "--format", "terraform"]) == 0
    assert json.loads(capsys.readouterr().out) == made("terraform")


@pytest.mark.usefixtures("folder")
def test_the_command_shows_people_what_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    """Port, resource and name."""
    assert run(["infrastructure"]) == 0
    out = capsys.readouterr().out
    assert [word for word in ("entities", "Room", "garret", "--format") if word not in out] == []


@pytest.mark.parametrize("form", ["cloudformation", "terraform"])
@pytest.mark.usefixtures("folder")
def test_the_command_is_kind_where_nothing_is_needed(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No empty template, which no tool would take, but a word why; nothing failed."""
    assert run(["infrastructure", "--profile", "memory", "--format", form]) == 0
    told = capsys.readouterr()
    assert (told.out, "needs nothing in a cloud" in told.err) == ("", True)


@pytest.mark.parametrize(("profile", "status"), [("attic", 0), ("drifted", 1)])
@pytest.mark.usefixtures("folder")
def test_the_exit_status_tells_whether_something_has_drifted(
    profile: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 where everything is as declared, 1 where not, as scripts want it."""
    assert run(["infrastructure", "--drift", "--profile", profile, "--json"]) == status
    assert json.loads(capsys.readouterr().out)["drift"] is bool(status)


@pytest.mark.usefixtures("folder")
def test_drift_is_told_in_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    """What `init` would do, and what differs."""
    assert run(["infrastructure", "--drift", "--profile", "drifted"]) == 1
    out = capsys.readouterr().out
    assert "to do: build the room" in out
    assert "differs: the room has 2 windows, not 3" in out


@pytest.mark.usefixtures("folder")
def test_drift_and_a_format_contradict_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """A usage error, for one compares and the other prints."""
    assert run(["infrastructure", "--drift", "--format", "json"]) == 2
    assert "leave out" in capsys.readouterr().err
