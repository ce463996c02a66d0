"""Trains recipes for the same time, scores them on the same clips, and writes one table.

python -m benchmarks.recipes --corpus=CORPUS --folder=FOLDER --minutes=10 --recipes=original,pfann,small
    [--seeds=0,1] [--split=val] [--noise_split=train] [--clock=cpu] [--set=model.dim=64] [--out=FILE.json]

A recipe is a file of `configs`. Short runs tell how long its step takes, and the run proper has as many steps as fit
into --minutes, so that its learning rate ends where the recipe says. A larger budget is a larger number. The clips
are cut from the music of --split and searched among all of that split. FOLDER keeps runs, stores and results, so that
an interrupted comparison goes on, and a finished part is not repeated.
"""

import importlib
import json
import math
import os
import pathlib
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from absl import flags

from benchmarks import _ends, _result
from evaluation.scores import tables
from nafp import config
from nafp.models import network

_CORPUS = flags.DEFINE_string("corpus", None, "The corpus to train on and to cut clips from. Required.", required=True)
_FOLDER = flags.DEFINE_string("folder", None, "The folder for runs, stores and results. Required.", required=True)
_MINUTES = flags.DEFINE_float("minutes", 10.0, "The minutes that each run may train, by --clock. Default: 10.")
_RECIPES = flags.DEFINE_list("recipes", ["original", "small"], "Files of configs, by name. Default: original,small.")
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds; each recipe is trained once with each. Default: 0.")
_SPLIT = flags.DEFINE_string("split", "val", "The split that clips are cut from and searched in. Default: val.")
_NOISE_SPLIT = flags.DEFINE_string("noise_split", None, "The split of noise and responses of clips. Default: --split.")
_COUNT = flags.DEFINE_integer("count", 200, "Clips of each condition. Default: 200.")
_CLOCK = flags.DEFINE_enum("clock", "cpu", ["cpu", "wall"], "The time that counts: cpu, or wall on an accelerator.")
_SET = flags.DEFINE_multi_string("set", [], "NAME=VALUE: a setting that all recipes take, such as a smaller network.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Default: the table is only printed.")

CONDITIONS = ("clean", "n10", "n0", "n5.room", "phone")
LENGTHS = (1, 3, 9)  # Segments: 1, 2 and 5 s at a hop of half a second.
CLIP_S = 5.0
PROBES = (2, 10)  # Steps of the two runs that time a step. What they share is the start.


class Trained(NamedTuple):
    """A finished run. seconds: by the clock, with start and compilation."""

    run: pathlib.Path
    steps: int
    seconds: float


def main() -> None:
    clips = rendered(pathlib.Path(_FOLDER.value) / f"clips-{_SPLIT.value}-{_COUNT.value}")
    records = []
    for recipe in _RECIPES.value:
        for seed in _SEEDS.value:
            records.append(compared(recipe, int(seed), clips))
            _result.write({"records": records, **settings()}, _OUT.value)
    print("\n" + tables.markdown_table(*table(records)))


def settings() -> dict[str, Any]:
    """Returns what all runs have in common, for the JSON file."""
    return {
        "minutes": _MINUTES.value,
        "clock": _CLOCK.value,
        "device": jax.devices()[0].device_kind,
        "threads": os.cpu_count(),
        "split": _SPLIT.value,
        "noise_split": _NOISE_SPLIT.value or _SPLIT.value,
        "clips_per_condition": _COUNT.value,
        "conditions": CONDITIONS,
        "set": _SET.value,
    }


def rendered(folder: pathlib.Path) -> pathlib.Path:
    """Renders the clips that all runs answer, once, and returns their folder."""
    if not (folder / "expected.csv").exists():
        places = [f"--source={_CORPUS.value}", f"--split={_SPLIT.value}", f"--out={folder}"]
        places.append(f"--noise_split={_NOISE_SPLIT.value or _SPLIT.value}")
        drawn = [f"--count={_COUNT.value}", f"--seconds={CLIP_S}", f"--conditions={','.join(CONDITIONS)}"]
        nafp("queries", "render", *places, *drawn, "--overwrite")
    return folder


def compared(recipe: str, seed: int, clips: pathlib.Path) -> dict[str, Any]:
    """Trains and scores a recipe with a seed, and returns its record. A finished one is read from its folder."""
    folder = pathlib.Path(_FOLDER.value) / f"{recipe}-{seed}-{_MINUTES.value:g}min{_mark()}"
    finished = folder / f"record-{clips.name}.json"
    if finished.exists():
        return json.loads(finished.read_text())
    trained = train(recipe, seed, folder)
    record: dict[str, Any] = {"recipe": recipe, "seed": seed, "steps": trained.steps, "train_s": trained.seconds}
    record |= described(trained.run) | scored(trained.run, folder, clips)
    finished.write_text(json.dumps(record, indent=1) + "\n")
    print(
        f"{recipe}, seed {seed}: {record['steps']} steps, {100 * record['song']['1']['rate']:.1f} % at 1 s", flush=True
    )
    return record


def _mark() -> str:
    """Returns what tells the folders of runs with other settings apart."""
    return f"-{zlib.crc32(' '.join(_SET.value).encode()):08x}" if _SET.value else ""


def train(recipe: str, seed: int, folder: pathlib.Path) -> Trained:
    """Trains a recipe for --minutes. An interrupted run goes on."""
    told = folder / "steps.json"
    if not told.exists():
        _train(recipe, seed, folder / "compiled", PROBES[0])  # It compiles. The others find the compiled programs.
        first, second = (_train(recipe, seed, folder / f"probe{n}", n) for n in PROBES)
        step_s = max(second - first, 1e-3) / (PROBES[1] - PROBES[0])
        start_s = first - PROBES[0] * step_s
        _result.write({"steps": max(1, int((60 * _MINUTES.value - start_s) / step_s)), "step_s": step_s}, told)
    steps = json.loads(told.read_text())["steps"]
    spent = folder / "train_s.json"
    if not spent.exists():
        _result.write({"seconds": _train(recipe, seed, folder / "run", steps)}, spent)
    return Trained(folder / "run", steps, json.loads(spent.read_text())["seconds"])


def _train(recipe: str, seed: int, run: pathlib.Path, steps: int) -> float:
    """Trains some steps and returns the seconds that it took. A warm-up never takes more than a tenth of the run."""
    recipe_warmup = read_recipe(recipe).optimizer.warmup_steps
    return nafp(
        *("train", f"--config=configs/{recipe}.py", f"--workdir={run}", f"--config.data.corpus={_CORPUS.value}"),
        *(f"--config.seed={seed}", f"--config.train.steps={steps}", "--config.validate.every_epochs=0"),
        f"--config.optimizer.warmup_steps={min(recipe_warmup, steps // 10)}",
        *(f"--config.{setting}" for setting in _SET.value),
    )


def read_recipe(recipe: str) -> Any:
    """Returns the configuration of a file of `configs`."""
    return importlib.import_module(f"configs.{recipe}").get_config()


def described(run: pathlib.Path) -> dict[str, Any]:
    """Returns what the network of a run is."""
    c = config.from_json((run / "config.json").read_text())
    leaves = jax.tree.leaves(network.abstract_variables(c)["params"])
    return {
        "parameters": sum(math.prod(leaf.shape) for leaf in leaves),
        "dim": c.model.dim,
        "batch_size": c.train.batch_size,
    }


def scored(run: pathlib.Path, folder: pathlib.Path, clips: pathlib.Path) -> dict[str, Any]:
    """Fingerprints the split and the clips with a run, and returns the shares of clips whose right track is first."""
    store, results = folder / "store", folder / f"results-{clips.name}"
    common = (f"--checkpoint={run}", f"--out={store}", "--overwrite")
    database_s = nafp("extract", f"--source={_CORPUS.value}", f"--split={_SPLIT.value}", "--name=db", *common)
    nafp("extract", f"--source={clips / 'list.txt'}", "--name=query", *common)
    nafp(
        *("evaluate", f"--store={store}", f"--truth={clips / 'expected.csv'}", f"--out={results}", "--index=l2"),
        f"--lengths={','.join(map(str, LENGTHS))}",
    )
    found = json.loads((results / "results.json").read_text())
    return {
        "extract_s": database_s,
        "song": _songs(found["hit_rates"]),
        "by_condition": {name: _songs(rates) for name, rates in found["groups"]["condition"].items()},
    }


def _songs(hit_rates: Mapping[str, Any]) -> dict[str, Any]:
    return {length: metrics["song"] for length, metrics in hit_rates.items()}


def nafp(*words: str) -> float:
    """Runs a command of the package, shows its output, and returns the seconds that it took, by --clock."""
    began, cpu_began = time.perf_counter(), _cpu_s()
    subprocess.run([sys.executable, "-m", "nafp", *words], check=True, stdout=sys.stderr)
    return _cpu_s() - cpu_began if _CLOCK.value == "cpu" else time.perf_counter() - began


def _cpu_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def table(records: Sequence[Mapping[str, Any]]) -> tables.Table:
    """Returns the table of the records: right tracks over all conditions with intervals, per condition, and costs."""
    seconds = [f"{tables.seconds(n, hop_s=0.5, segment_s=1.0):g} s" for n in LENGTHS]
    header = ["recipe", "seed", "parameters", "segments", *(f"all, {s}" for s in seconds)]
    header += [*(f"{name}, {seconds[0]} / {seconds[-1]}" for name in CONDITIONS), "train min", "extract min"]
    return header, [_line(record) for record in records]


def _line(record: Mapping[str, Any]) -> list[str]:
    first, last = str(LENGTHS[0]), str(LENGTHS[-1])
    by_condition = [record["by_condition"][name] for name in CONDITIONS]
    return [
        record["recipe"],
        str(record["seed"]),
        f"{record['parameters']:,}",
        f"{record['steps'] * record['batch_size']:,}",
        *(tables.percent(record["song"][str(length)]) for length in LENGTHS),
        *(f"{100 * cells[first]['rate']:.1f} / {100 * cells[last]['rate']:.1f}" for cells in by_condition),
        f"{record['train_s'] / 60:.1f}",
        f"{record['extract_s'] / 60:.1f}",
    ]


if __name__ == "__main__":
    _ends.run(main)
