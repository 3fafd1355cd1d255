"""The documents say what the program has: tables, links, names, commands and examples."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support.redis_server import RedisServer
from support.tables import each_line
from token_refresher.cli.parser import parse
from token_refresher.domain.model import Kind, Target
from token_refresher.function.event import read_event
from token_refresher.settings.loader import read
from token_refresher.store.keys import WIRE_NAME, keys_of

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CHINESE = DOCS / "zh-CN"
ENGLISH_PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if CHINESE not in page.parents),
]
CHINESE_PAGES = [ROOT / "README.zh-CN.md", *sorted(CHINESE.rglob("*.md"))]
PAGES = [*ENGLISH_PAGES, *CHINESE_PAGES]
# English only: their readers read or change the program.
ONLY_ENGLISH = ("architecture", "design", "performance", "verification")
URL = "redis://:password@redis.internal:6379/0"


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_tables", ROOT / "tools" / "readme_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool()


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language, also those inside a list, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text_of(page), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def prose(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


# -- tables ----------------------------------------------------------------------------------


def test_the_tables_of_a_page_are_those_of_the_program() -> None:
    for page in tool.pages():
        text = text_of(page)
        assert tool.filled(text, translated=tool.is_translated(page)) == text, "run python tools/readme_tables.py"


def test_every_table_is_on_one_page() -> None:
    texts = "".join(text_of(page) for page in ENGLISH_PAGES)
    assert {name: texts.count(f"<!-- {name} -->") for name in tool.tables()} == dict.fromkeys(tool.tables(), 1)


def test_a_translated_table_keeps_its_words_and_gets_new_rows_and_defaults() -> None:
    old = "| 原因 | 含义 |\n| --- | --- |\n| `FRESH` | 无需处理 |\n| `GONE` | 已不存在 |"
    new = tool.filled(f"<!-- reasons -->\n{old}\n<!-- /reasons -->", translated=True)
    lines = new.splitlines()
    assert lines[1:3] == ["| 原因 | 含义 |", "| --- | --- |"]
    assert "| `FRESH` | 无需处理 |" in lines
    assert "| `MISSING` | nothing is stored |" in lines
    assert "GONE" not in new
    assert "| `LOG_LEVEL` | 级别 | `INFO` |" in tool.filled(
        "<!-- environment -->\n| 变量 | 含义 | 默认值 |\n| --- | --- | --- |\n| `LOG_LEVEL` | 级别 | `X` |\n"
        "<!-- /environment -->",
        translated=True,
    )


def test_an_unknown_mark_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="there is no table odd"):
        tool.filled("<!-- odd -->\n<!-- /odd -->")


def test_the_architecture_lists_every_package_and_no_other() -> None:
    text = text_of(DOCS / "explanation" / "architecture.md")
    table = text.partition("\n## Packages\n")[2].partition("\n## ")[0]
    home = ROOT / "src" / "token_refresher"
    folders = {path.parent.relative_to(home).as_posix() for path in home.rglob("__init__.py")} - {"."}
    assert set(re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE)) == {each for each in folders if "/" not in each}
    assert [each for each in folders if "/" in each and f"`{each}`" not in table and each != "cli/commands"] == []


# -- names and links -------------------------------------------------------------------------


def anchors(page: Path) -> list[str]:
    """The names that a page's headings have on GitHub and GitLab, in their order."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]


def test_every_link_leads_somewhere() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)\s]+)\)", prose(page))]
    for page, link in links:
        if re.match(r"https?:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), (page, link)
        if anchor:
            assert anchor in anchors(target), (page, link)


def test_every_english_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    links = {(DOCS / link).resolve() for link in re.findall(r"\]\(([^)#]+)\)", text_of(index))}
    assert [page for page in ENGLISH_PAGES if DOCS in page.parents and page != index and page not in links] == []


def test_every_make_target_and_file_that_a_page_names_exists() -> None:
    makefile = text_of(ROOT / "Makefile")
    for page in PAGES:
        text, shell = text_of(page), " ".join(blocks(page, "sh"))
        for target in {*re.findall(r"`make ([a-z-]+)", text), *re.findall(r"^make ([a-z-]+)", shell, re.MULTILINE)}:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page, f"make {target}")
        for name in set(re.findall(r"`((?:tests|tools|docs|src)/[\w/.-]+)`", text)):
            assert (ROOT / name).exists(), (page, name)


def words(text: str) -> int:
    return len([word for word in text.split() if re.search(r"\w", word)])


def by_hand(page: Path) -> str:
    """What a person wrote: without blocks of code and the tables of the program."""
    return re.sub(r"<!-- ([a-z]+) -->.*?<!-- /\1 -->", "", prose(page), flags=re.DOTALL)


def test_the_readme_stays_short() -> None:
    text = text_of(ROOT / "README.md")
    assert len(text.splitlines()) <= 160
    assert words(text) <= 900


def test_the_pages_stay_short() -> None:
    pages = [page for page in ENGLISH_PAGES if DOCS in page.parents and page.parent.name != "reference"]
    assert words(text_of(DOCS / "explanation" / "verification.md")) <= 800
    assert words(text_of(DOCS / "explanation" / "performance.md")) <= 700
    assert sum(words(by_hand(page)) for page in pages) <= 9500


# -- words -----------------------------------------------------------------------------------

# Where the glossary in CONTRIBUTING.md allows "code". What is in backticks, or where a link leads, is a name.
CODES = re.compile(r"`[^`\n]*`|\]\([^)]*\)|\b(error|exit|login|login-free) codes?\b|never \"code\"", re.IGNORECASE)


@each_line("page", [page for page in ENGLISH_PAGES if page.name != "SECURITY.md"])
def test_a_page_calls_a_credential_a_credential(page: Path) -> None:
    assert re.findall(r".*\bcodes?\b.*", CODES.sub("", by_hand(page)), re.IGNORECASE) == []


@each_line("page", CHINESE_PAGES)
def test_a_chinese_page_calls_a_credential_a_credential(page: Path) -> None:
    assert "代码" not in text_of(page)


@each_line("page", ENGLISH_PAGES)
def test_a_page_is_in_plain_english(page: Path) -> None:
    old = re.compile(
        r"\b(told|stands?|anew|somebody|nobody|whoever|aloud|ours|(?<!there )is no)\b(?! longer)", re.IGNORECASE
    )
    assert [line for line in by_hand(page).splitlines() if old.search(line)] == []


# -- the Chinese pages -----------------------------------------------------------------------


def english_of(page: Path) -> Path:
    return ROOT / "README.md" if page.parent == ROOT else DOCS / page.relative_to(CHINESE)


def chinese_of(page: Path) -> Path:
    """The Chinese page of an English one; the page itself, and any other file, where there is none."""
    chinese = {english_of(each): each for each in CHINESE_PAGES}
    return chinese.get(page, page)


def destinations(page: Path) -> list[tuple[Path, int]]:
    """Where the links of a page lead: file and number of the heading, without the link to the other language."""
    found = []
    for text, link in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", prose(page)):
        if text not in ("English", "中文") and not re.match(r"https?:", link):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            found.append((target, anchors(target).index(anchor) if anchor else -1))
    return found


def table_sizes(page: Path) -> list[tuple[int, int]]:
    """Rows and columns of each table of a page."""
    tables = re.findall(r"(?:^ *\|.*\n)+", prose(page), re.MULTILINE)
    return [(len(rows.splitlines()), len(re.findall(r"(?<!\\)\|", rows.splitlines()[0]))) for rows in tables]


def test_every_page_for_users_has_a_chinese_one() -> None:
    pages = [page for page in ENGLISH_PAGES if DOCS in page.parents and page.stem not in ONLY_ENGLISH]
    assert [page for page in pages if chinese_of(page) == page] == []
    assert [page for page in CHINESE_PAGES if not english_of(page).exists()] == []


def test_a_chinese_page_shows_the_commands_of_the_english_one() -> None:
    for page in CHINESE_PAGES:
        for language in ("sh", "yaml", "json", "python", "php", "js", "java", "go", "text", "console"):
            shown, wanted = blocks(page, language), blocks(english_of(page), language)
            assert [bare(each) for each in shown] == [bare(each) for each in wanted], page


def test_a_chinese_page_has_the_headings_and_tables_of_the_english_one() -> None:
    for page in CHINESE_PAGES:
        levels = [re.findall(r"^(#+) ", prose(each), re.MULTILINE) for each in (page, english_of(page))]
        assert levels[0] == levels[1], page
        assert table_sizes(page) == table_sizes(english_of(page)), page


def test_a_row_of_a_chinese_table_has_the_names_of_the_english_one() -> None:
    def names(of: Path) -> list[list[str]]:
        return [sorted(set(re.findall(r"`[^`]+`", row))) for row in re.findall(r"^ *\|.*$", prose(of), re.MULTILINE)]

    for page in CHINESE_PAGES:
        assert names(page) == names(english_of(page)), page


def test_a_chinese_page_has_the_figures_of_the_english_one() -> None:
    def figures(of: Path) -> list[str]:
        text = re.sub(r"\]\([^)]*\)", "", by_hand(of))
        return sorted(found.rstrip(".,") for found in re.findall(r"\d[\d,.]*", text))

    for page in CHINESE_PAGES:
        assert figures(page) == figures(english_of(page)), page


def test_a_chinese_page_links_to_what_the_english_one_does_in_chinese_where_there_is_a_page() -> None:
    for page in CHINESE_PAGES:
        wanted = {(chinese_of(target), heading) for target, heading in destinations(english_of(page))}
        assert wanted - set(destinations(page)) == set(), page
        for text, link in re.findall(r"\[([^\]]*)\]\(([^)\s]+\.md)[^)]*\)", prose(page)):
            target = (page.parent / link).resolve()
            assert target in CHINESE_PAGES or "英文" in text or text == "English", (page, link)


def test_a_paragraph_of_a_chinese_page_is_one_line() -> None:
    """A browser shows the end of a line as a blank, which does not belong between two Chinese words."""
    marks = re.compile(r" *([-|#<>!]|[0-9]+\. |$)")
    for page in CHINESE_PAGES:
        lines = itertools.pairwise(prose(page).splitlines())
        assert [line for above, line in lines if above.strip() and not marks.match(line)] == [], page


def bare(block: str) -> list[str]:
    return [re.sub(r"\s*(#|//) .*", "", line) for line in block.splitlines()]


# -- commands and examples -------------------------------------------------------------------


def command_lines() -> Iterator[str]:
    """The arguments in every line that starts the program."""
    for page in ENGLISH_PAGES:
        shown = [*blocks(page, "sh"), *blocks(page, "text"), *blocks(page, "console")]
        lines = [line for block in shown for line in block.splitlines()]
        lines += re.findall(r"`(token-refresher [^`\n]+)`", prose(page))
        for line in dict.fromkeys(lines):
            found = re.search(r"^(?:\$ |\* \* \* \* \* )?\S*token-refresher ((?:--?[\w-]+|[a-z]).*)$", line)
            if found and "COMMAND" not in line and " -t " not in f" {line} ":
                yield found[1]


def test_every_command_that_a_page_shows_is_one_that_the_program_takes() -> None:
    lines = set(command_lines())
    assert lines
    for line in lines:
        parse(shlex.split(line, comments=True))


@pytest.fixture
def stored(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """Both credentials of the application of the documents."""
    server = start_redis()
    now = int(server.now())
    for kind in Kind:
        value = json.dumps({WIRE_NAME[kind]: "a0" * 32, "expires_in": now + 7200, "issued_at": now, "fence": 1})
        server.client().set(keys_of(Target("100027", kind)).value, value, ex=7200)
    return server


class Api:
    """A service that rejects the first credential."""

    class TokenRejected(Exception):
        pass

    def get_user(self, credential: str) -> str:
        return f"the user of {len(credential)} characters"


@pytest.mark.parametrize("name", ["README.md", "docs/how-to/read-credentials.md"])
def test_the_python_of_a_page_runs_one_block_after_the_other(name: str, stored: RedisServer) -> None:
    names: dict[str, object] = {"api": Api(), "__name__": "a_page"}
    code = blocks(ROOT / name, "python")
    assert code
    for block in code:
        exec(block.replace(URL, stored.url), names)  # noqa: S102 - that is the test
    assert names["ticket" if name == "README.md" else "token"] == "a0" * 32


def test_the_file_of_the_configuration_page_is_one_that_the_program_reads(tmp_path: Path) -> None:
    secret, file = tmp_path / "app_100027", tmp_path / "config.yaml"
    secret.write_text("made-up")
    (block,) = blocks(DOCS / "reference" / "configuration.md", "yaml")
    file.write_text(block.replace("/run/secrets/app_100027", str(secret)))
    settings = read({"CONFIG_FILE": str(file), "REDIS_PASSWORD": "made-up"})
    assert [app.app_id for app in settings.apps] == ["100027"]
    assert settings.warnings == ()


def test_the_events_of_the_page_are_accepted() -> None:
    page = DOCS / "reference" / "cli-and-events.md"
    events = [*blocks(page, "json"), *re.findall(r"`(\{\"action\": .+?\})`", text_of(page))]
    assert len(events) == 3
    for event in events:
        read_event(event, ["100027"])


def test_the_page_names_every_metric_of_the_daemon() -> None:
    source = text_of(ROOT / "src" / "token_refresher" / "web" / "metrics.py")
    names = set(re.findall(r"\"(token_refresher_[a-z_]+)\"", source))
    page = text_of(DOCS / "how-to" / "status-page.md")
    assert names
    assert [name for name in names if name not in page] == []
