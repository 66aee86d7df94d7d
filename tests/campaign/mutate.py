"""Mutate two packages and see which tests notice: `PYTHONPATH=tests python -m campaign.mutate --help`.

Results are appended to `<out>/<group>.jsonl` as they come and read again by the next run. A kill is
remembered while the module and the file of the test that killed it are unchanged, a survival while
the module and all the tests are. `<out>/mutants.md` is the table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from campaign import trial
from campaign.coverage_map import TestMap, trace
from campaign.mutations import Mutant, find, mutate

HERE = Path(__file__).parent
HARMLESS = HERE / "harmless.toml"


class Group(NamedTuple):
    """A package and the tests that are responsible for it, as globs below the root."""

    package: str
    tests: tuple[str, ...]


GROUPS = {
    "protocol": Group(
        "cocoon_sdk/protocol", ("tests/unit/protocol/test_*.py", "tests/adversarial/test_wire_*.py")
    ),
    "registry": Group(
        "cocoon_sdk/registry",
        ("tests/unit/registry/test_*.py", "tests/adversarial/test_registry_*.py"),
    ),
}


COMMON = ("hypothesis.stateful", "httpx", "msgspec", "nacl.bindings", "anyio", "sqlalchemy")


def digest(path: Path) -> str:
    """Names the content of a file, "" where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def harmless() -> dict[str, str]:
    """Mutants that change nothing that can be observed, each with the reason."""
    return {item["name"]: item["reason"] for item in tomllib.loads(HARMLESS.read_text())["mutant"]}


def test_files(root: Path, group: Group) -> list[str]:
    """The test files of a group, relative to the root."""
    found = [path for pattern in group.tests for path in root.glob(pattern)]
    return sorted(path.relative_to(root).as_posix() for path in found)


def mutants_of(root: Path, group: Group) -> list[Mutant]:
    """All mutants of a group; those that take a check away come first."""
    folder = root / "src" / group.package
    found = [
        mutant
        for path in sorted(folder.rglob("*.py"))
        for mutant in find(path.relative_to(folder).as_posix(), path.read_text("utf-8"))
    ]
    return sorted(found, key=lambda mutant: not mutant.is_check)


class Run:
    """One group at work."""

    def __init__(self, root: Path, name: str, out: Path) -> None:
        self.root = root
        self.group = GROUPS[name]
        self.folder = root / "src" / self.group.package
        self.files = test_files(root, self.group)
        self.log = out / f"{name}.jsonl"
        self.tests_digest = hashlib.sha256(
            "".join(digest(root / file) for file in self.files).encode()
        ).hexdigest()[:16]
        self.map: TestMap | None = None

    def known(self) -> dict[str, dict[str, Any]]:
        """Results of earlier runs that still hold, by name."""
        held: dict[str, dict[str, Any]] = {}
        if self.log.exists():
            for line in self.log.read_text("utf-8").splitlines():
                item = json.loads(line)
                module = self.folder / item["module"]
                if item["source"] != digest(module):
                    continue
                if item["status"] == "survived" and item["tests"] != self.tests_digest:
                    continue
                if item["by"] and item["by_digest"] != digest(
                    self.root / item["by"].split("::")[0]
                ):
                    continue
                held[item["name"]] = item
        return held

    def prepare(self) -> None:
        """Trace the tests and load what children need."""
        self.map = trace(self.root, self.group.package, self.files)
        trial.preload(self.map.modules)

    def judge(self, mutant: Mutant) -> dict[str, Any]:
        """Run the tests of one mutant and note the result."""
        path = self.folder / mutant.module
        source = path.read_text("utf-8")
        started = time.monotonic()
        tree = mutate(mutant, source)
        outcome = trial.Outcome("passed")
        tests: list[str] | None = None
        if self.map is None:  # a small sample: the module's own tests, then all
            own = [file for file in self.files if file.endswith(f"/test_{path.stem}.py")]
            for files in (own, self.files):
                if files and outcome.status == "passed":
                    outcome = trial.try_mutant(self.root, path, tree, None, files, 120)
        else:
            tests = self.map.tests_of(mutant.module, mutant.lines)
            names = self.map.seconds if tests is None else tests
            limit = 15 + 10 * sum(self.map.seconds.get(name, 0) for name in names)
            if tests is None or tests:
                outcome = trial.try_mutant(self.root, path, tree, tests, self.files, limit)
            if outcome.status == "passed" and tests is not None and mutant.name not in harmless():
                # The map misses a test now and then, so nothing is called a survivor without them all.
                limit = 15 + 10 * sum(self.map.seconds.values())
                outcome = trial.try_mutant(self.root, path, tree, None, self.files, limit)
        result = {
            "name": mutant.name,
            "module": mutant.module,
            "line": mutant.lines[0],
            "check": mutant.is_check,
            "operator": mutant.operator,
            "status": "survived" if outcome.status == "passed" else "killed",
            "covered": tests is None or bool(tests),
            "timeout": outcome.status == "timeout",
            "by": "" if outcome.by == "collection" else outcome.by,
            "by_digest": digest(self.root / outcome.by.split("::")[0]),
            "source": digest(path),
            "tests": self.tests_digest,
            "seconds": round(time.monotonic() - started, 2),
        }
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        return result


def _lot(seed: str, mutant: Mutant) -> str:
    """A draw that stays the same when code elsewhere changes."""
    return hashlib.sha256(f"{seed} {mutant.name}".encode()).hexdigest()


def table(results: dict[str, list[dict[str, Any]]], excused: dict[str, str]) -> str:
    """Counts by module, and every survivor with the reason why it may live."""
    rows = ["| package | module | mutants | of them checks | killed | harmless | survived |"]
    rows.append("|---|---|---|---|---|---|---|")
    tail: list[str] = []
    for group, items in results.items():
        for module in [*sorted({item["module"] for item in items}), ""]:
            mine = [item for item in items if module in {"", item["module"]}]
            count = Counter(
                "killed"
                if item["status"] == "killed"
                else ("harmless" if item["name"] in excused else "survived")
                for item in mine
            )
            checks = sum(item["check"] for item in mine)
            rows.append(
                f"| {group} | {module or '**all**'} | {len(mine)} | {checks} | {count['killed']} "
                f"| {count['harmless']} | {count['survived']} |"
            )
        tail += [
            f"- `{group}/{item['name']}` (line {item['line']}): "
            f"{excused.get(item['name'], '**not excused**')}"
            for item in items
            if item["status"] == "survived"
        ]
    return "\n".join([*rows, "", *tail, ""])


def main(arguments: list[str] | None = None) -> int:
    """Run; the status says whether a mutant lives that nobody has excused."""
    parser = argparse.ArgumentParser(description="Mutation run over protocol/ and registry/.")
    parser.add_argument("groups", nargs="*", default=[], help=f"of {', '.join(GROUPS)}; else all")
    parser.add_argument("--root", type=Path, default=HERE.parent.parent, help="the tree to judge")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--checks", action="store_true", help="only those that take a check away")
    parser.add_argument("--modules", help="only these modules, by name, comma-separated")
    parser.add_argument("--sample", type=int, help="a few at random, without tracing first")
    parser.add_argument("--seed", default="0", help="chooses the sample")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start none after this")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    excused, until = harmless(), time.monotonic() + options.seconds
    results: dict[str, list[dict[str, Any]]] = {}
    for name in options.groups or GROUPS:
        run = Run(options.root.resolve(), name, options.out)
        chosen = [
            mutant
            for mutant in mutants_of(run.root, run.group)
            if (mutant.is_check or not (options.checks or options.sample))
            and (not options.modules or mutant.module in options.modules.split(","))
        ]
        if options.sample:
            chosen = [mutant for mutant in chosen if mutant.name not in excused]
            chosen = sorted(chosen, key=lambda mutant: _lot(options.seed, mutant))[: options.sample]
            trial.preload(COMMON)
        known = run.known()
        results[name] = [known[mutant.name] for mutant in chosen if mutant.name in known]
        missing = [mutant for mutant in chosen if mutant.name not in known]
        if missing and not options.sample:
            run.prepare()
        for mutant in missing:
            if time.monotonic() > until:
                break
            result = run.judge(mutant)
            results[name].append(result)
            if result["status"] == "survived" and mutant.name not in excused:
                print(
                    f"{name}/{mutant.module}:{mutant.lines[0]} survived: {mutant.name}", flush=True
                )
    (options.out / "mutants.md").write_text(table(results, excused), "utf-8")
    alive = [
        item["name"]
        for items in results.values()
        for item in items
        if item["status"] == "survived" and item["name"] not in excused
    ]
    made = sum(map(len, results.values()))
    print(f"{made} mutants, {len(alive)} survived without an excuse; {options.out / 'mutants.md'}")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
