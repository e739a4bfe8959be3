"""A newcomer with a fresh clone who follows the first pages, word for word, sees what they show: in each language."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.pages import Command, File, Step, is_answer, steps
from localdemo import shell
from localdemo.surroundings import NOT_INHERITED, REPOSITORY

LANGUAGES = {
    "English": ("README.md", "docs/getting-started.md"),
    "Chinese": ("README.zh-CN.md", "docs/getting-started.zh-CN.md"),
}
LONGEST_SECONDS = 600.0
#: Commands that are read and not typed here, by how they begin, and why.
NOT_TYPED = {
    "make test": "it runs this test",
    "make image": "tests/e2e/test_image.py builds one",
    "make push": "it needs a registry; the same test pushes to one",
    "kubectl -n spotcompute-system rollout status": "this control plane has no nodes on which a pod could start",
    "helm install": "it is the other way beside `kubectl apply -k`; tests/deploy tries it",
}


def read(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def without_comments(found: list[Step]) -> list[Step]:
    return [File(one.name, re.sub(r" +# .*", "", one.content)) if isinstance(one, File) else one for one in found]


@pytest.mark.parametrize("number", [0, 1], ids=LANGUAGES["English"])
def test_a_page_has_the_same_commands_and_answers_in_each_language(number: int) -> None:
    english, chinese = (without_comments(steps(read(pages[number]))) for pages in LANGUAGES.values())
    assert chinese == english
    assert sum(isinstance(step, Command) for step in english) > 10


@pytest.mark.parametrize("page", LANGUAGES["Chinese"])
def test_no_line_breaks_between_two_chinese_characters(page: str) -> None:
    """A browser shows such a break as a space in the middle of a sentence."""
    prose = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    wide = "[\u3001-\u303f\u4e00-\u9fff\uff01-\uff65]"
    assert re.findall(rf".*{wide}\n *(?={wide})", prose) == []


def test_what_is_not_typed_stands_on_a_page() -> None:
    typed = [step.words for page in LANGUAGES["English"] for step in steps(read(page)) if isinstance(step, Command)]
    assert [begin for begin in NOT_TYPED if not any(words.startswith(begin) for words in typed)] == []


@pytest.mark.parametrize(
    ("shown", "seen", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a\nb", "a\nc\n", False),
        ("a", "a\nb\n", False),
        ("a\n…\nz", "a\nm\nn\nz\n", True),
        ("…\nz", "z\n", True),
        ("a … z", "a 17 z\n", True),
        ("a … z", "a 17 y\n", False),
        ("NAME    AGE\nfirst   5s", "NAME   AGE\nfirst  1m12s\n", True),
        ("COST 0.0522", "COST 0.0523\n", False),
        ("ins-6cir11jr at 10.0.0.2", "ins-aaaaaaaa at 10.0.0.9\n", True),
        ("2 of 2 run", "2 of 3 run\n", False),
        ("met", 'I1130 09:49:02.886072    7031 reflector.go:664] "Warning: watch ended"\nmet\n', True),
        ("met", "E1130 was the number\nmet\n", False),
    ],
)
def test_an_answer_is_compared_word_by_word(shown: str, seen: str, same: bool) -> None:
    assert is_answer(shown, seen) is same


def test_commands_files_and_answers_are_read_from_a_page() -> None:
    page = "Write `a.yaml`:\n```yaml\nx: 1\n```\n```console\n$ one \\\n    --two   # why\nthree\n\nfour\n$ five\n```\n"
    assert steps(page) == [
        File("a.yaml", "x: 1\n"),
        Command("one \\\n    --two", "three\n\nfour"),
        Command("five", None),
    ]


class Newcomer:
    """A person with a fresh clone and a shell that remembers what was exported."""

    def __init__(self, directory: Path) -> None:
        self.clone, self._exports = directory / "clone", directory / "exports"
        copy_of_the_working_tree(self.clone)
        link_what_is_installed(self.clone / ".venv")
        self._exports.touch()
        not_inherited = (*NOT_INHERITED, "MAKE", "MFLAGS", "USE_CLUSTER", "XDG_CONFIG", "PYTEST")
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(not_inherited)}
        self._env |= {"SHELL": "/bin/bash", "PYTHONPATH": str(self.clone / "operator")}

    def types(self, command: str) -> subprocess.CompletedProcess[str]:
        script = f". {self._exports}\n{command}\ncode=$?\nexport -p > {self._exports}\nexit $code"
        return subprocess.run(
            ["bash", "-c", script], cwd=self.clone, env=self._env, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LONGEST_SECONDS, check=False,
        )  # fmt: skip

    def follows(self, page: str, but_not: tuple[str, ...]) -> None:
        """Do all that the page says, in its order, and compare each answer with the one it shows."""
        for step in steps(read(page)):
            if isinstance(step, File):
                (self.clone / step.name).write_text(step.content, encoding="utf-8")
                continue
            if step.words.startswith(but_not):
                continue
            done = self.types(step.words)
            assert done.returncode == 0, f"{page}: $ {step.words}\n{done.stdout}"
            if step.answer is not None:
                assert is_answer(step.answer, done.stdout), (
                    f"{page}: $ {step.words}\n--- shows\n{step.answer}\n--- answers\n{done.stdout}"
                )


def copy_of_the_working_tree(target: Path) -> None:
    """Make what `git clone` would make after a commit of everything: no file that git ignores."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listing.stdout.split("\0")):
        source = REPOSITORY / name
        if source.is_file() and name not in (".venv", ".cache"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def link_what_is_installed(environment: Path) -> None:
    """Make an environment that `make` takes for up to date: a setup takes its time, and is tried elsewhere."""
    environment.mkdir()
    for part in Path(sys.prefix).iterdir():
        if part.name != ".installed":
            (environment / part.name).symlink_to(part)
    (environment / ".installed").touch()


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    newcomer = Newcomer(tmp_path)
    yield newcomer
    newcomer.types("make down")


@pytest.mark.e2e
@pytest.mark.skipif(os.environ.get("SKIP_E2E") == "1", reason="SKIP_E2E=1: no real control plane is wanted")
@pytest.mark.parametrize("language", ["English", pytest.param("Chinese", marks=pytest.mark.rare)])
def test_a_newcomer_who_follows_the_first_pages_sees_what_they_show(language: str, newcomer: Newcomer) -> None:
    # The story of `make demo` is the same in each language, and takes a minute.
    but_not = (*NOT_TYPED, *(() if language == "English" else ("make demo",)))
    for page in LANGUAGES[language]:
        newcomer.follows(page, but_not)
    assert newcomer.types("make down").stdout.strip() in ("ended", "nothing was running")


@pytest.mark.e2e
@pytest.mark.skipif(os.environ.get("SKIP_E2E") == "1", reason="SKIP_E2E=1: no real control plane is wanted")
def test_each_of_ten_tasks_of_the_console_has_a_command_that_does_it(newcomer: Newcomer) -> None:
    (table,) = re.findall(r"^## Ten tasks\n(.*?)^## ", read("docs/console.md"), re.MULTILINE | re.DOTALL)
    create, price, scale, why, instances, address, activity, cost, pause, delete = re.findall(
        r"^\|[^|]+\| `([^|]+)` \|[^|]+\|$", table, re.MULTILINE
    )
    shutil.copy(newcomer.clone / "deploy/samples/first.yaml", newcomer.clone / "first.yaml")

    def answer(command: str) -> str:
        done = newcomer.types(command)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"
        return done.stdout

    def until(condition: str, value: str) -> None:
        answer(f"kubectl wait sce first --for=jsonpath='{{.status.{condition}}}'={value} --timeout=5m")

    answer("make up")
    answer("source .cache/demo/activate; kubectl apply -k deploy/samples; kubectl delete sce --all")
    assert "Would be had now: 2 of 2 instances." in answer(price)
    assert "first serverside-applied" in answer(create)
    until("readyReplicas", "2")
    answer(scale)
    until("readyReplicas", "3")
    assert "first: 3 of 3 ready" in answer(why)
    ids = set(answer("kubectl get sce first -o jsonpath='{.status.instances[*].id}'").split())
    assert len(ids) == 3
    listed, told = answer(instances), answer(activity)
    assert all(one in listed for one in ids)
    assert "Launch" in told
    assert "USD" in answer(cost)
    addresses = dict(line.split() for line in answer(address).splitlines())
    assert addresses.keys() == ids
    assert len(set(addresses.values())) == 3
    answer(pause)
    until("phase", "Paused")
    answer(delete)
    assert "No resources found" in answer("kubectl get sce")


@pytest.mark.parametrize("interpreter", ["sh", "bash", "zsh", "fish"])
def test_make_up_sets_what_its_commands_need(interpreter: str, tmp_path: Path) -> None:
    if shutil.which(interpreter) is None:
        pytest.skip(f"{interpreter} is not on this machine")
    state = {"kubeconfig": "/a b/config", "ready_file": "/r", "endpoint": "127.0.0.1:1", "path": "/x y/bin:/z"}
    shell.write(tmp_path, state)
    file = tmp_path / ("activate.fish" if interpreter == "fish" else "activate")
    mine = {
        "PATH": os.environ["PATH"],
        "NO_PROXY": "corp",
        "TENCENTCLOUD_TOKEN": "mine",
        "SPOTCOMPUTE_SITE": "mainland",
    }
    done = subprocess.run([interpreter, "-c", f". {file}; env"], env=mine, capture_output=True, text=True, check=True)
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert seen.items() >= shell.variables(state).items()
    assert seen["PATH"] == f"/x y/bin:/z:{mine['PATH']}"
    assert seen["NO_PROXY"] == seen["no_proxy"] == "corp,127.0.0.1,localhost"
    assert "TENCENTCLOUD_TOKEN" not in seen
    assert file.stat().st_mode & 0o077 == 0


def test_make_up_names_five_commands_to_try_next() -> None:
    state = {"pid": 7, "operator_log": "/log", "metrics": "http://127.0.0.1:2/metrics"}
    text = shell.instructions(REPOSITORY / ".cache" / "demo", state)
    assert len(shell.NEXT) == 5
    assert all(command in text for command, _ in (*shell.NEXT, *shell.MORE))
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/bin/bash", "source .cache/demo/activate"),
        ("/usr/bin/fish", "source .cache/demo/activate.fish"),
        ("/bin/dash", ". .cache/demo/activate"),
        ("", ". .cache/demo/activate"),
    ],
)
def test_make_up_speaks_to_the_shell_that_is_there(program: str, command: str) -> None:
    assert shell.source_command(REPOSITORY / ".cache" / "demo", program) == command
    assert re.fullmatch(r"(source|\.) '/el se/activate(\.fish)?'", shell.source_command(Path("/el se"), program))
