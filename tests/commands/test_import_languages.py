"""`postil concepts import-languages` against a real server, and the tables it reads."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postil.commands import languages_file
from postil.commands.languages_file import Row
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import ListConceptLanguagesRequest, PostConceptsRequest
from postil.v1.status_code_pb2 import StatusCode
from support.server import OWN, Server, clean_environment, command


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Writes a file and gives its path."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "names.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


DOG, CAT = Row(1, "dog", "ja", "犬", ""), Row(2, "cat", "da", "kat", "et dyr")


@pytest.mark.parametrize(
    "text",
    [
        "dog,ja,犬\ncat,da,kat,et dyr\n",
        "dog\tja\t犬\r\ncat\tda\tkat\tet dyr\r\n",
        "dog;ja;犬;\ncat;da;kat;et dyr",
        "\ufeffdog, ja , 犬\n cat,da,kat,et dyr",
        '"dog","ja","犬"\n"cat","da","kat","et dyr"\n',
    ],
)
def test_tables_in_many_forms(table: Callable[..., Path], text: str) -> None:
    assert languages_file.read(table(text)) == ([DOG, CAT], [])


def test_headings_put_columns_in_any_order(table: Callable[..., Path]) -> None:
    text = "Name,rank,LANGUAGE,Concept\n犬,1,ja,dog\n\nkat,2,da,cat\n"
    assert languages_file.read(table(text)).rows == [
        DOG._replace(line=2),
        CAT._replace(line=4, definition=""),
    ]


def test_a_quoted_definition_may_have_lines_and_commas(table: Callable[..., Path]) -> None:
    (row,) = languages_file.read(table('dog,ja,犬,"four legs,\nand a tail"\n')).rows
    assert row.definition == "four legs,\nand a tail"


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        ("dog,ja\ncat,da,kat\n", [(1, "has 2 columns")]),
        ("dog\n", [(1, "has one column")]),
        ("dog,ja,犬,a,b\n", [(1, "has 5 columns")]),
        (
            "dog,ja,犬\n,da,hund\ncat,,kat\ncat,da,\n",
            [(2, "the concept is"), (3, "the language is"), (4, "the name is")],
        ),
        ("dog,japanese!,犬\n", [(1, "'japanese!' is no language code")]),
        ("dog,ja,犬\ncat,ja,猫\ndog,ja,イヌ\n", [(3, "names concept 'dog' in 'ja' again, after line 1")]),
        (b"dog,ja,dog\ncat,da,k\xe6t\n", [(2, "is not UTF-8")]),
        ('dog,ja,"犬\n', [(1, "cannot be read")]),
    ],
)
def test_bad_lines_are_named(table: Callable[..., Path], content: str | bytes, problems: list[tuple[int, str]]) -> None:
    found = languages_file.read(table(content)).problems
    assert [problem.line for problem in found] == [line for line, _ in problems]
    for problem, (_, text) in zip(found, problems, strict=True):
        assert text in problem.text


def run(target: str, app: UserAppIDSet, path: Path) -> subprocess.CompletedProcess[str]:
    arguments = command("concepts", "import-languages", "--target", target, "--app", app.app_id, str(path))
    return subprocess.run(arguments, check=False, capture_output=True, text=True, env=clean_environment(), timeout=60)


@pytest.fixture
def zoo(server: Server, app: UserAppIDSet) -> UserAppIDSet:
    concepts = [Concept(id=f"c{number}") for number in range(100)]
    answer = server.call(OWN, "PostConcepts", PostConceptsRequest(user_app_id=app, concepts=concepts))
    assert answer.status.code == StatusCode.SUCCESS
    return app


def names(server: Server, app: UserAppIDSet, concept: str) -> dict[str, str]:
    request = ListConceptLanguagesRequest(user_app_id=app, concept_id=concept)
    answer: Any = server.call(OWN, "ListConceptLanguages", request)
    return {one.id: one.name for one in answer.concept_languages}


def test_names_reach_the_server_and_a_second_run_changes_them(
    server: Server, zoo: UserAppIDSet, table: Callable[..., Path]
) -> None:
    lines = [f"c{number},{language},{language}-{number}" for number in range(100) for language in ("ja", "da", "zh-TW")]
    done = run(server.grpc, zoo, table("concept,language,name\n" + "\n".join(lines)))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "300 names of 300 kept (3 languages, 100 concepts in the file)\n"
    assert names(server, zoo, "c42") == {"ja": "ja-42", "da": "da-42", "zh-TW": "zh-TW-42"}
    assert run(server.grpc, zoo, table("c42,ja,犬\n")).stdout.startswith("1 name of 1 kept (1 language, 1 concept")
    assert names(server, zoo, "c42") == {"ja": "犬", "da": "da-42", "zh-TW": "zh-TW-42"}


def test_what_the_server_refuses_is_told_by_line_and_the_rest_is_kept(
    server: Server, zoo: UserAppIDSet, table: Callable[..., Path]
) -> None:
    path = table(f"c1,ja,犬\nwolf,ja,狼\nc2,da,kat\nc2,ja,{'x' * 257}\nc3,en,cee\n")
    done = run(server.grpc, zoo, path)
    assert done.returncode == 1
    second, third, fourth, fifth = done.stderr.splitlines()
    assert second.startswith(f"{path}:2: 11101 Concept 'wolf' does not exist")
    assert third == f"{path}:3: not sent, because of line 4"
    assert fourth.startswith(f"{path}:4: 40003 the name has 257 characters")
    assert "app's own language" in fifth
    assert done.stdout.startswith("1 name of 5 kept")
    assert names(server, zoo, "c1") == {"ja": "犬"}
    assert names(server, zoo, "c2") == {}


def test_nothing_is_sent_while_a_line_cannot_be_used(
    server: Server, zoo: UserAppIDSet, table: Callable[..., Path]
) -> None:
    path = table("c1,ja,犬\nc2,ja\n")
    done = run(server.grpc, zoo, path)
    assert done.returncode == 1
    assert f"{path}:2: has 2 columns" in done.stderr
    assert "1 line cannot be used; nothing was sent" in done.stderr
    assert names(server, zoo, "c1") == {}


def test_many_problems_are_counted(server: Server, zoo: UserAppIDSet, table: Callable[..., Path]) -> None:
    done = run(server.grpc, zoo, table("c1,ja\n" * 60))
    assert len(done.stderr.splitlines()) == 52
    assert "and 10 lines more" in done.stderr


def test_a_server_that_is_not_there_is_named(app: UserAppIDSet, table: Callable[..., Path]) -> None:
    done = run("127.0.0.1:1", app, table("c1,ja,犬\n"))
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
