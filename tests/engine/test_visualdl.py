"""What a run writes for VisualDL."""

import io
import json
import os
import signal
from pathlib import Path

import pytest
from PIL import Image

from ppcls.engine.trainer import Trainer
from ppcls.utils.signals import Interrupted
from tests.engine.runs import at_loss, history


def scalars(folder):
    """VisualDL's records, {tag: [(step, value), ...]}."""
    visualdl = pytest.importorskip("visualdl")
    (path,) = (Path(folder) / "DSNet" / "vdl").glob("vdlrecords.*")
    reader = visualdl.LogReader(file_path=str(path))
    return {
        tag: [(record.id, record.value) for record in reader.get_data("scalar", tag)]
        for tag in reader.get_tags()["scalar"]
    }


@pytest.fixture
def no_graph(monkeypatch):
    """Without the process that draws the graph, which takes as long as many of these tests."""

    class NoGraph:
        def __init__(self, config, folder):
            pass

        def close(self):
            pass

    monkeypatch.setattr("ppcls.engine.visualdl_writer.GraphWriter", NoGraph)


def test_visualdl_graph_and_images(make_config, tmp_path):
    visualdl = pytest.importorskip("visualdl")
    config = make_config(use_visualdl=True, epochs=1, output_dir=str(tmp_path))
    Trainer(config).fit()
    folder = tmp_path / "DSNet" / "vdl"
    (graph,) = folder.glob("vdlgraph.*")
    nodes = {node["name"] for node in json.loads(graph.read_text())["nodes"]}
    assert any("DualStreamBlock" in name for name in nodes)
    (records,) = folder.glob("vdlrecords.*")
    (image,) = visualdl.LogReader(file_path=str(records)).get_data("image", "train/images")
    with Image.open(io.BytesIO(image.image.encoded_image_string)) as sheet:
        assert sheet.size == (96, 96)  # 3 x 3 places for a batch of 8


@pytest.mark.usefixtures("no_graph")
def test_visualdl_scalars(make_config, tmp_path):
    pytest.importorskip("visualdl")
    config = make_config(use_visualdl=True, print_batch_step=1, output_dir=str(tmp_path))
    Trainer(config).fit()
    written = scalars(tmp_path)
    assert [step for step, _ in written["train/loss"]] == [1, 2, 3, 4]
    # The rate that the next step will have.
    assert written["train/lr"][-1] == (4, 0.0)
    rows = history(tmp_path)
    for name in ("loss", "top1"):
        values = [(row["epoch"], pytest.approx(row[f"eval_{name}"])) for row in rows]
        assert written[f"eval/{name}"] == values


@pytest.mark.usefixtures("no_graph")
def test_scalars_of_an_interrupted_run_are_not_lost(make_config, tmp_path):
    pytest.importorskip("visualdl")
    config = make_config(use_visualdl=True, print_batch_step=1, output_dir=str(tmp_path))
    trainer = Trainer(config)
    interrupt_at(trainer, 3)
    with pytest.raises(Interrupted):
        trainer.fit()
    assert [step for step, _ in scalars(tmp_path)["train/loss"]] == [1, 2, 3]


def interrupt_at(trainer, step):
    """SIGTERM comes during the given step."""
    at_loss(trainer, step, lambda losses: os.kill(os.getpid(), signal.SIGTERM))
