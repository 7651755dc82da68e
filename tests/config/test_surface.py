"""What PaddleClas files say in Loss, Metric, Optimizer, PostProcess and a distillation's Arch.

Every name and argument that occurs in them, in texts of our own: accepted, and made of it what the
name says.
"""

import pytest
import yaml

from ppcls.config.check import check_config
from ppcls.config.yaml_file import parse_yaml
from ppcls.inference import postprocess  # noqa: F401
from ppcls.registry import LOSSES, LRS, METRICS, OPTIMIZERS, POSTPROCESSES, parse_spec

ARCH = "Arch: {name: DSNet_tiny, class_num: 33}\n"

LOSSES_IN_FILES = """
- CELoss: {weight: 1.0, epsilon: 0.1}
- CELoss:
    weight: 1.0
- CELoss:
- GoogLeNetLoss: {weight: 1.0}
- MultiLabelLoss: {weight: 1.0, epsilon: 0.1, size_sum: True, weight_ratio: True}
- MultiLabelAsymmetricLoss: {weight: 1.0, gamma_pos: 1, gamma_neg: 4, clip: 0.05, epsilon: 1e-8,
    disable_focal_loss_grad: True, reduction: sum}
- BCELoss: {weight: 1.0, epsilon: 0.1}
- FocalLoss: {weight: 1.0, gamma: 2, class_weight: balanced}
- DistillationCELoss: {weight: 1.0, model_name_pairs: [[Student, Teacher]]}
- DistillationCELoss: {weight: 0.5, model_name_pairs: [[Student, Teacher]], use_hard_label: True}
- DistillationGTCELoss: {weight: 1.0, key: output, model_names: [Student, Teacher], epsilon: 0.1}
- DistillationDMLLoss:
    weight: 1.0
    act: softmax
    key: logits
    name: loss_dml
    model_name_pairs:
    - ["Student", "Teacher"]
- DistillationDMLLoss: {weight: 1.0, weight_ratio: True, sum_across_class_dim: False, act: sigmoid,
    model_name_pairs: [[Student, Teacher]]}
- DistillationDistanceLoss: {weight: 1.0, mode: l2, key: blocks5, model_name_pairs: [[A, B]]}
- DistillationDistanceLoss: {mode: smooth_l1, act: sigmoid, model_name_pairs: [[A, B]]}
- DistillationKLDivLoss: {weight: 0.9, model_name_pairs: [[A, B]], temperature: 4, key: logits}
- DistillationDKDLoss: {weight: 1.0, model_name_pairs: [[A, B]], temperature: 1, alpha: 1.0,
    beta: 1.0, use_target_as_gt: True}
- DistillationDISTLoss: {weight: 2.0, model_name_pairs: [[A, B]], beta: 1.0, gamma: 1.0}
- DistillationSKDLoss: {weight: 1.0, model_name_pairs: [[A, B]], temperature: 1.0,
    multiplier: 2.0, alpha: 0.9}
- DistillationWSLLoss: {weight: 2.5, model_name_pairs: [[A, B]], temperature: 2}
- DistillationMultiLabelLoss: {weight: 1.0, model_names: [A, B], weight_ratio: True,
    size_sum: True, epsilon: 0.1}
- DistillationRKDLoss: {weight: 1.0, model_name_pairs: [[A, B]], student_keepkeys: ["blocks[7]"],
    teacher_keepkeys: ["blocks[15]"], target_size: 1}
- DistillationPairLoss:
    weight: 1.0
    base_loss_name: MGDLoss
    model_name_pairs: [["Student", "Teacher"]]
    s_keys: ["blocks[7]"]
    t_keys: ["blocks[15]"]
    name: "loss_mgd"
    student_channels: 512
    teacher_channels: 512
- DistillationPairLoss:
    weight: 25.0
    base_loss_name: PEFDLoss
    model_name_pairs: [["Student", "Teacher"]]
    s_key: "avg_pool"
    t_key: "avg_pool"
    name: "loss_pefd"
    student_channel: 512
    teacher_channel: 512
- DistillationPairLoss:
    weight: 1.0
    base_loss_name: ReviewKDLoss
    model_name_pairs: [["Student", "Teacher"]]
    s_key: ["blocks[1]", "blocks[3]", "avg_pool"]
    t_key: ["blocks[2]", "blocks[6]", "avg_pool"]
    name: "loss_reviewkd"
    student_channels: [64, 128, 512]
    teacher_channels: [64, 128, 512]
    mid_channel: 512
    hcl_mode: "avg"
- AFDLoss:
    weight: 50.0
    model_name_pair: ["Student", "Teacher"]
    student_keys: ["bilinear_key", "value"]
    teacher_keys: ["query", "value"]
    s_shapes: [[64, 56, 56], [512, 7, 7]]
    t_shapes: [[64, 56, 56], [512, 7, 7]]
"""

METRICS_IN_FILES = """
- TopkAcc: {topk: [1, 5]}
- TopkAcc: {topk: 1}
- DistillationTopkAcc: {model_key: "Student", topk: [1, 5]}
- DistillationTopkAcc: {model_key: Student, feature_key: logits, topk: [1, 5]}
- GoogLeNetTopkAcc: {topk: [1, 5]}
- HammingDistance:
- AccuracyScore:
- AccuracyScore: {base: sample}
- mAP:
- MultiLabelMAP: {map_type: integral}
- ATTRMetric:
- TprAtFpr:
- TprAtFpr: {max_fpr: 0.01}
"""

POSTPROCESSES_IN_FILES = """
- {name: Topk, topk: 5, class_id_map_file: null}
- {name: Topk, topk: 5, class_id_map_file: None, delimiter: " "}
- {name: ThreshOutput, threshold: 0.9, label_0: nobody, label_1: someone}
- {name: ThreshOutput, threshold: 0.5, default_label_index: 0, class_id_map_file: None}
- {name: MultiLabelThreshOutput, threshold: 0.5, class_id_map_file: None, delimiter: ","}
- {name: MultiLabelTopk, topk: 5, class_id_map_file: None}
- {name: DistillationPostProcess, func: Topk, topk: 5, class_id_map_file: null}
- {name: DistillationPostProcess, func: MultiLabelThreshOutput, model_name: Student, key: logits,
    threshold: 0.5}
"""

OPTIMIZERS_IN_FILES = """
- {name: Momentum, momentum: 0.9, regularizer: {name: L2, coeff: 0.00004}}
- {name: Momentum, momentum: 0.9, regularizer: {name: 'L2', coeff: 1e-4}, use_nesterov: True,
    clip_norm: 1.0, multi_precision: True}
- {name: Momentum, momentum: 0.9, weight_decay: 1e-4}
- {name: AdamW, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.05,
    no_weight_decay_name: norm cls_token pos_embed, one_dim_param_no_weight_decay: True}
- {name: AdamW, weight_decay: "1e-5", clip_grad: 1.0, multi_precision: False}
- {name: RMSProp, momentum: 0.9, rho: 0.9, epsilon: 0.001, one_dim_param_no_weight_decay: True,
    regularizer: {name: L2, coeff: 0.00002}}
- {name: SGD, weight_decay: 1e-4}
- {name: Adam, beta1: 0.9, beta2: 0.999, regularizer: {name: L1, coeff: 1e-5}}
- {name: Lamb, weight_decay: 0.02, one_dim_param_no_weight_decay: True}
"""

SCHEDULES_IN_FILES = """
- {name: Cosine, learning_rate: 1e-3, eta_min: 1e-5, warmup_epoch: 20, warmup_start_lr: 1e-6}
- {name: Cosine, learning_rate: 0.1, warmup_epoch: 5, by_epoch: True, last_epoch: -1}
- {name: Cosine, learning_rate: "1.0/1024", eta_min: "0", warmup_epoch: "5"}
- {name: Piecewise, learning_rate: 0.1, decay_epochs: [30, 60, 90],
    values: [0.1, 0.01, 0.001, 0.0001], by_epoch: False}
- {name: MultiStepDecay, learning_rate: 0.1, milestones: [30, 60, 90], step_each_epoch: 1,
    gamma: 0.1}
- {name: MultiStepDecay, learning_rate: 0.01, milestones: [20, 30], verbose: False}
- {name: Step, learning_rate: 0.045, step_size: 2, gamma: 0.94, warmup_epoch: 5}
- {name: Constant, learning_rate: 0.01}
- {name: ConstLR, learning_rate: 0.01, warmup_epoch: 1}
- {name: Linear, learning_rate: 0.1, end_lr: 1e-5, power: 1.0, warmup_epoch: 5, last_epoch: -1}
- {name: Polynomial, learning_rate: 0.1, end_lr: 0.0, power: 2, epochs: 120}
- {name: Cyclic, base_learning_rate: 1e-4, max_learning_rate: 1e-2, step_size_up: 2000,
    step_size_down: 1000, mode: exp_range, exp_gamma: 0.99, by_epoch: False, last_epoch: -1}
- {name: OneCycle, max_learning_rate: 0.1, divide_factor: 25, end_learning_rate: 1e-6,
    phase_pct: 0.3, anneal_strategy: linear, three_phase: False}
- {name: OneCycleLR, max_learning_rate: 0.1}
- {name: ReduceOnPlateau, learning_rate: 0.1, mode: max, factor: 0.1, patience: 10,
    threshold: 1e-4, threshold_mode: rel, cooldown: 2, warmup_epoch: 5, by_epoch: True}
"""


def entries(text):
    specs = yaml.safe_load(text)
    return [pytest.param(spec, id=f"{parse_spec(spec)[0]}-{i}") for i, spec in enumerate(specs)]


def checked(section):
    """The checked form of some sections."""
    config, faults = check_config({**yaml.safe_load(ARCH), **section})
    assert not faults
    return config


@pytest.mark.parametrize("spec", entries(LOSSES_IN_FILES))
def test_loss(spec):
    section = checked({"Loss": {"Train": [spec], "Eval": [spec]}})["Loss"]["Train"][0]
    loss = LOSSES.build(section)
    assert loss.weight == (parse_spec(spec)[1] or {}).get("weight", 1.0)


@pytest.mark.parametrize("spec", entries(METRICS_IN_FILES))
def test_metric(spec):
    section = checked({"Metric": {"Train": [spec], "Eval": [spec]}})["Metric"]["Eval"][0]
    assert METRICS.build(section).compute() == {}


@pytest.mark.parametrize("spec", entries(POSTPROCESSES_IN_FILES))
def test_postprocess(spec):
    section = checked({"Infer": {"PostProcess": spec}})["Infer"]["PostProcess"]
    assert type(POSTPROCESSES.build(section)).__name__ == spec["name"]


@pytest.mark.parametrize("spec", entries(SCHEDULES_IN_FILES))
def test_schedule(spec):
    section = checked({"Optimizer": {"name": "SGD", "lr": spec}})["Optimizer"]["lr"]
    schedule = LRS.build(section, epochs=120, steps_per_epoch=10)
    rates = []
    for _ in range(1200):
        rates.append(schedule())
        schedule.step()
    assert all(isinstance(rate, float) and rate >= 0 for rate in rates)
    assert max(rates) > 0


@pytest.mark.parametrize("spec", entries(OPTIMIZERS_IN_FILES))
def test_optimizer(spec):
    lr = {"name": "Cosine", "learning_rate": "1e-3"}
    section = checked({"Optimizer": {**spec, "lr": lr}})["Optimizer"]
    assert section["lr"]["learning_rate"] == 1e-3
    assert OPTIMIZERS.get(section["name"])


DISTILLATION = """
Global: {use_multilabel: False, eval_mode: classification}
Arch:
  name: "DistillationModel"
  class_num: &class_num 1000
  # one entry per model, or none
  pretrained_list:
  freeze_params_list:
  - True
  - False
  infer_model_name: "Student"
  use_sync_bn: True
  models:
    - Teacher:
        name: ResNet34
        class_num: *class_num
        pretrained: True
        return_patterns: ["blocks[2]", "avg_pool"]
    - Student:
        name: ResNet18
        pretrained: False
        return_patterns: ["blocks[1]", "avg_pool"]
"""

ATTENTION = """
Arch:
  name: "DistillationModel"
  pretrained_list:
  freeze_params_list:
  models:
    - Teacher:
        name: AttentionModel
        pretrained_list:
        freeze_params_list: [True, False]
        models:
          - ResNet34: {name: ResNet34, pretrained: True, return_patterns: &t ["blocks[0]"]}
          - LinearTransformTeacher:
              name: LinearTransformTeacher
              qk_dim: 128
              keys: *t
              t_shapes: &t_shapes [[64, 56, 56]]
    - Student:
        name: AttentionModel
        pretrained_list:
        freeze_params_list: [False, False]
        models:
          - ResNet18: {name: ResNet18, pretrained: False, return_patterns: &s ["blocks[0]"]}
          - LinearTransformStudent:
              name: LinearTransformStudent
              qk_dim: 128
              keys: *s
              s_shapes: [[64, 56, 56]]
              t_shapes: *t_shapes
  infer_model_name: "Student"
"""


@pytest.mark.parametrize("text", [DISTILLATION, ATTENTION], ids=["distillation", "attention"])
def test_architectures_of_distillation(text):
    pytest.importorskip("paddleclas")
    assert not check_config(yaml.safe_load(text))[1]


def test_numbers_with_an_exponent_reach_models_whose_arguments_have_no_types():
    """YAML 1.1 reads `1e-5` as text; a model of `paddleclas` would get it as it is."""
    pytest.importorskip("paddleclas")
    arch = parse_yaml(
        "Arch: {name: TinyNet_E, override_params: {batch_norm_epsilon: 1e-5, a: 2.5e3, b: '1e-5'}}",
        origin="here",
    )
    options = check_config(arch)[0]["Arch"]["override_params"]
    assert options == {"batch_norm_epsilon": 1e-5, "a": 2500.0, "b": "1e-5"}


GLOBAL = """
image_channel: &image_channel 4
image_shape: [*image_channel, 224, 224]
start_eval_epoch: 10
eval_interval: 1
"""


def test_global():
    section = checked({"Global": yaml.safe_load(GLOBAL)})["Global"]
    assert section["image_shape"][0] == 4


def test_old_places_of_averaging_and_precision():
    assert checked({"Global": {"ema": {"enable": True, "decay": 0.99}}})["EMA"] == {"decay": 0.99}
    assert "EMA" not in checked({"Global": {"ema": {"enable": False, "decay": 0.99}}})
    old = {"use_pure_fp16": True, "scale_loss": 128.0}
    assert checked({"AMP": old})["AMP"] == {"scale_loss": 128.0, "level": "O2"}
    assert checked({"AMP": {**old, "amp_level": "O1"}})["AMP"]["level"] == "O1"
    _, faults = check_config({**yaml.safe_load(ARCH), "AMP": {**old, "level": "O1"}})
    assert len(faults) == 1


def test_the_format_before_sections_is_refused_in_one_sentence():
    old = {"mode": "train", "ARCHITECTURE": {"name": "VGG16"}, "LEARNING_RATE": {}, "epochs": 20}
    _, faults = check_config(old)
    assert len(faults) == 1
    assert "PaddleClas before version 2.2" in faults[0]


def test_class_num_of_batch_operators_is_the_models():
    split = yaml.safe_load("""
        dataset:
          name: ImageNetDataset
          image_root: images
          cls_label_path: list.txt
          batch_transform_ops:
          - OpSampler:
              class_num: 7
              MixupOperator: {alpha: 0.8, prob: 0.5}
          - CutmixOperator: {alpha: 1.0, class_num: 7}
          - FmixOperator:
        sampler: {name: DistributedBatchSampler, batch_size: 8}
    """)
    operators = checked({"DataLoader": {"Train": split}})["DataLoader"]["Train"]
    assert operators["batch_transform_ops"] == [
        {"OpSampler": {"MixupOperator": {"alpha": 0.8, "prob": 0.5}}},
        {"CutmixOperator": {"alpha": 1.0}},
        {"FmixOperator": {}},
    ]


def test_distillation_losses_that_are_not_supported_say_so():
    spec = {"DistillationGuidedDMLLoss": {"model_name_pairs": [["Student", "Teacher"]]}}
    _, faults = check_config({**yaml.safe_load(ARCH), "Loss": {"Train": [spec]}})
    assert faults == [
        "Loss.Train.0: loss 'DistillationGuidedDMLLoss': this distillation loss of PaddleClas is "
        "not supported"
    ]


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"Global": {"eval_mode": "retrieval"}}, "Global.eval_mode"),
        ({"Loss": {"Train": [{"TripletLossV2": {"weight": 1.0, "margin": 0.5}}]}}, "Loss.Train.0"),
        ({"Metric": {"Eval": [{"Recallk": {"topk": [1, 5]}}]}}, "Metric.Eval.0"),
        ({"Metric": {"Eval": [{"Precisionk": {"topk": [1]}}]}}, "Metric.Eval.0"),
    ],
)
def test_retrieval_is_refused_in_one_sentence(section, path):
    _, faults = check_config({**yaml.safe_load(ARCH), **section})
    assert len(faults) == 1
    assert faults[0].startswith(f"{path}: ")
    assert "retrieval is not supported yet" in faults[0]
