"""A model folder is a network like any other, its card states facts, and files that disagree are refused."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import yaml

import nafp
from nafp import errors
from nafp.corpora import manifest
from nafp.database import database
from nafp.verbs import export
from nafp.weights import files, model_cards, model_folders, sources
from tests import networks

RECORDINGS = "tests/recordings/RECORDINGS.csv"
CELL = {"hits": 9, "asked": 10, "rate": 0.9, "low": 0.596, "high": 0.982}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, small):
    """A model folder with everything: (folder, the file that it was made from, results)."""
    place = tmp_path_factory.mktemp("hub")
    files.write(place / "a.safetensors", *small[:2], step=7, source="run@7", format="safetensors")
    identity = dict(files.load(place / "a.safetensors").identity)
    results = {
        "hit_rates": {"1": {"song": CELL}, "3": {"song": {**CELL, "rate": 0.95}}},
        "groups": {"condition": {"noise 0 dB": {"1": {"song": CELL}}}},
        "stores": {"database": [{"tracks": 33, "model": identity}]},
        "questions": {"known": 10},
    }
    (place / "results").mkdir()
    (place / "results" / "results.json").write_text(json.dumps(results))
    calibration = pathlib.Path("nafp/weights/small.confidence.json").read_text()
    (place / "results" / "confidence.json").write_text(calibration)
    given = {"results": str(place / "results"), "data": RECORDINGS, "licence": "CC-BY-4.0"}
    export.run(place / "folder", checkpoint=str(place / "a.safetensors"), format="folder", **given)
    return place / "folder", place / "a.safetensors", place / "results"


@pytest.fixture
def folder(exported, tmp_path):
    """A copy that a test may spoil."""
    for path in exported[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_the_folder_is_the_network_it_was_made_from(exported, waveforms):
    found, wanted = (nafp.load(str(path), runtime="numpy") for path in exported[:2])
    np.testing.assert_array_equal(found(waveforms[:1]), wanted(waveforms[:1]))
    assert found.identity["sha256"] == wanted.identity["sha256"]


def test_a_database_takes_network_and_calibration_from_the_folder(exported, tmp_path):
    with database.Database.create(tmp_path / "DB", network=str(exported[0])) as made:
        assert made.about["dim"] == 16
        assert made.confidence is not None


def test_the_configuration_says_what_other_programs_look_for(exported):
    described = json.loads((exported[0] / "config.json").read_text())
    assert described["model_type"] == "nafp"
    assert (described["sampling_rate"], described["embedding_dim"], described["step"]) == (8000, 16, 7)
    assert described["parameters_sha256"] == files.stated(exported[0] / "model.safetensors")["sha256"]
    assert described["nafp"]["model"]["dim"] == 16


def test_the_card_states_data_licences_results_and_limits(exported):
    card = (exported[0] / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["license"], head["library_name"], head["pipeline_tag"]) == ("cc-by-4.0", "nafp", "feature-extraction")
    metric = head["model-index"][0]["results"][0]["metrics"][1]
    assert (metric["type"], metric["value"]) == ("hit_rate", 95.0)
    assert "10 questions among 33 recordings" in card
    assert "| noise 0 dB | 90.0 (59.6-98.2) | - |" in card
    assert "| music | CC0-1.0 |" in card
    assert "The parameters are under CC-BY-4.0." in card
    assert "`optimizer.name`" in card
    assert "## Limits" in card


def test_what_nobody_stated_is_said_to_be_unknown(exported, tmp_path):
    export.run(tmp_path / "f", checkpoint=str(exported[1]), format="folder")
    card = (tmp_path / "f" / "README.md").read_text()
    assert 'license: "unknown"' in card
    assert "Nobody stated a licence" in card
    assert "Nobody stated results" in card
    assert "model-index" not in card
    assert not (tmp_path / "f" / "confidence.json").exists()


def test_the_shipped_network_keeps_its_own_card_and_calibration(tmp_path):
    export.run(tmp_path / "small", checkpoint="small", format="folder", dtype="float16")
    card = (tmp_path / "small" / "README.md").read_text()
    assert 'license: "apache-2.0"' in card
    assert "## Data and licences" in card
    assert "](../" not in card
    found, wanted = (nafp.load(name, runtime="numpy").identity for name in (f"{tmp_path}/small", "small"))
    assert found["sha256"] == wanted["sha256"]
    confidence = sources.weights_file("small").with_suffix(".confidence.json").read_text()
    assert json.loads((tmp_path / "small" / "confidence.json").read_text()) == json.loads(confidence)


def spoil_config(folder, change):
    path = folder / "config.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda tree: tree.update(sampling_rate=16000), r"config.json: says sampling_rate 16000, but .* 8000"),
        (lambda tree: tree["nafp"]["model"].update(dim=17), r"config.json: says nafp 17, but .* 16"),
        (lambda tree: tree.update(parameters_sha256="0" * 64), "config.json: says parameters_sha256"),
        (lambda tree: tree.update(nafp=[1]), "config.json: cannot be read"),
    ],
)
def test_a_configuration_that_disagrees_is_refused(folder, change, said):
    spoil_config(folder, change)
    with pytest.raises(errors.Invalid, match=said):
        nafp.load(str(folder), runtime="numpy")


@pytest.mark.parametrize(
    "before, after, said",
    [
        ("embedding_dim: 16", "embedding_dim: 128", "says embedding_dim 128"),
        ("parameters_sha256: ", "parameters_sha256: 0", "says parameters_sha256"),
        ("tags:", "tags: [", "its YAML cannot be read"),
    ],
)
def test_a_card_that_disagrees_is_refused(folder, before, after, said):
    path = folder / "README.md"
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(errors.Invalid, match=said):
        nafp.load(str(folder), runtime="numpy")


def test_a_card_may_be_rewritten_or_left_out(folder, waveforms):
    (folder / "README.md").write_text("# Mine\n")
    nafp.load(str(folder), runtime="numpy")
    for name in ("README.md", "config.json"):
        (folder / name).unlink()
    assert nafp.load(str(folder), runtime="numpy")(waveforms).shape == (5, 16)


def test_files_that_are_huge_or_no_text_are_refused(folder):
    for name in ("README.md", "config.json"):
        before = (folder / name).read_bytes()
        for data, said in ((b" " * 2**21, "larger than"), (b"\xff", "UTF-8")):
            (folder / name).write_bytes(data)
            with pytest.raises(errors.Invalid, match=said):
                nafp.load(str(folder), runtime="numpy")
        (folder / name).write_bytes(before)


def test_another_folder_is_not_written_into(exported, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(errors.AlreadyExists, match=r"mine.txt"):
        export.run(tmp_path, checkpoint=str(exported[1]), format="folder")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_is_written_anew(folder, exported):
    export.run(folder, checkpoint=str(exported[1]), format="folder")
    assert not (folder / "confidence.json").exists()
    nafp.load(str(folder), runtime="numpy")


def test_results_of_another_network_are_refused(exported, tmp_path):
    c = networks.config()
    files.write(tmp_path / "b.npz", networks.trained_variables(c, seed=5), c, step=1)
    with pytest.raises(errors.Invalid, match=r"--results: are of a.safetensors, not of b.npz"):
        export.run(tmp_path / "f", checkpoint=f"{tmp_path}/b.npz", format="folder", results=str(exported[2]))


def test_the_results_of_a_protocol_serve_a_card_as_its_folder_of_results_does(exported, tmp_path):
    shutil.copytree(exported[2], tmp_path / "robustness" / "results")
    given = {"results": str(tmp_path / "robustness"), "data": RECORDINGS, "licence": "CC-BY-4.0"}
    export.run(tmp_path / "folder", checkpoint=str(exported[1]), format="folder", **given)
    for name in ("README.md", "confidence.json"):
        assert (tmp_path / "folder" / name).read_bytes() == (exported[0] / name).read_bytes()


def test_facts_of_a_card_are_for_a_folder_only(exported, tmp_path):
    with pytest.raises(errors.Invalid, match="--format=folder"):
        export.run(tmp_path / "a.npz", checkpoint=str(exported[1]), licence="CC0-1.0")


def test_the_hub_s_own_library_reads_the_card_offline(exported, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub = pytest.importorskip("huggingface_hub", reason="no huggingface_hub: pip install huggingface_hub")
    card = hub.ModelCard.load(exported[0] / "README.md")
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "nafp")
    assert card.data.pipeline_tag == "feature-extraction"
    rates = [(result.metric_type, result.metric_value) for result in card.data.eval_results]
    assert rates == [("hit_rate", 90.0), ("hit_rate", 95.0)]
    assert model_cards.front_matter(card.content)["embedding_dim"] == 16
    assert model_folders.is_one(exported[0])


def test_a_card_whose_date_cannot_be_is_refused_in_one_line():
    with pytest.raises(errors.Invalid, match="its YAML cannot be read: month must be in"):
        model_cards.front_matter("---\ndate: 2020-99-99\n---\n")


def test_a_licence_with_a_bar_or_a_line_break_stays_in_its_cell(tmp_path):
    track = manifest.Track("/a.wav", seconds=3600.0, extra=(("licence", "CC0 | or\nmine"),))
    facts = model_cards.Facts("tiny", data=[track])
    described = dict.fromkeys(model_cards.CHECKED, 1)
    card = model_cards.text(sources.read("small"), facts, described)
    assert "| music | CC0 \\| or\\nmine | 1 | 1.00 |" in card
