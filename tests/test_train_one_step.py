"""`benchmarks/train_one_step.py` trains what can be trained, and says why not otherwise."""

import subprocess
import sys

RECIPE = """
Global: {{device: gpu, epochs: 20, image_shape: [3, 32, 32]}}
Arch:
  name: DSNet
  class_num: 5
  embed_dim: [8, 16, 24, 32]
  depth: [1, 1, 1, 1]
  num_heads: [1, 2, 3, 4]
  downsamples: [4, 2, 1, 1]
  pretrained: {pretrained}
Loss: {{Train: [{{MultiLabelLoss: }}], Eval: [{{MultiLabelLoss: }}]}}
Optimizer: {{name: SGD, lr: {{name: Cosine, learning_rate: 0.1, warmup_epoch: 5}}}}
DataLoader:
  Train: &split
    dataset:
      name: MultiLabelDataset
      image_root: ./nowhere
      cls_label_path: ./nowhere/list.txt
      transform_ops: &ops
      - DecodeImage:
      - NormalizeImage: {{scale: 1.0/255.0, order: ''}}
      - ToCHWImage:
    sampler: {{name: DistributedBatchSampler, batch_size: 256, drop_last: True}}
    loader: {{num_workers: 8}}
  Eval: *split
Metric: {{Eval: [{{HammingDistance: }}]}}
"""


def test_a_line_per_file(repo_root, tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(RECIPE.format(pretrained="./weights/of/nobody"))
    bad.write_text(RECIPE.format(pretrained="False") + "Infer: {batch_sise: 3}\n")
    script = repo_root / "benchmarks" / "train_one_step.py"
    done = subprocess.run([sys.executable, script, good, bad], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done.stderr
    assert lines[1].startswith("OK ")
    assert "good.yaml: loss 0." in lines[1]
    assert lines[2].startswith("FAIL ")
    assert "Infer.batch_sise: unknown key; did you mean 'batch_size'?" in "".join(lines[2:])
    assert lines[-1] == "1 of 2 trained a step"
