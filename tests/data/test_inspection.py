"""What `check_dataset.py` is made of: duplicates, signatures, digests, pictures, labels."""

import numpy as np
import pytest
from pictures import encode, make_picture
from PIL import Image

from ppcls.data.inspection.check import class_num_of
from ppcls.data.inspection.duplicates import BANDS, equal_groups, near_pairs
from ppcls.data.inspection.image_facts import content_digest, examine, likeness, signature
from ppcls.data.inspection.labels import ranges
from ppcls.data.inspection.sheet import label_text
from ppcls.data.randomness import SampleKey
from ppcls.data.transform.display import displayable
from ppcls.registry import DATASETS


@pytest.mark.parametrize(
    "normalize",
    [
        [{"NormalizeImage": {"order": ""}}, {"ToCHWImage": None}],
        [{"ToCHWImage": None}, {"NormalizeImage": {"order": "chw", "channel_num": 4}}],
        [
            {"NormalizeImage": {"order": "", "mean": [0.1, 0.2, 0.3], "scale": 0.01}},
            {"ToCHWImage": None},
        ],
        [{"ToCHWImage": None}],
    ],
)
@pytest.mark.parametrize("to_rgb", [True, False])
def test_the_picture_undoes_normalisation(tmp_path, normalize, to_rgb):
    picture = make_picture(30, 20)
    (tmp_path / "a.png").write_bytes(encode(picture, "PNG"))
    (tmp_path / "list.txt").write_text("a.png 0\n")
    dataset = DATASETS.build(
        {
            "name": "ImageNetDataset",
            "image_root": str(tmp_path),
            "cls_label_path": str(tmp_path / "list.txt"),
            "transform_ops": [{"DecodeImage": {"to_rgb": to_rgb}}, *normalize],
        },
        seed=0,
    )
    image = dataset[SampleKey(0, 0)].image
    assert np.array_equal(displayable(image, dataset.transform), picture)


def test_label_text():
    def name(class_id):
        return "abcd"[class_id]

    assert label_text(2, name) == "c"
    assert label_text(np.array([1.0, 0, 1, 0]), name) == "a + c"
    assert label_text(np.array([[0.0, 1, 0, 0], [0.2, 0.3, 0.4, 0.1]]), name) == "b"
    assert label_text(np.array([0.25, 0, 0.75, 0]), name) == "c 75%\na 25%"
    assert label_text(np.zeros(4), name) == "no class"


def test_equal_groups_of_many():
    rng = np.random.RandomState(0)
    digests = rng.randint(0, 256, (5000, 16)).astype(np.uint8)
    digests[[7, 4000, 2500]] = digests[7]
    digests[[3, 4999]] = digests[3]
    is_valid = np.ones(5000, bool)
    assert [g.tolist() for g in equal_groups(digests, is_valid)] == [[3, 4999], [7, 2500, 4000]]
    is_valid[3] = False
    assert [g.tolist() for g in equal_groups(digests, is_valid)] == [[7, 2500, 4000]]
    assert equal_groups(digests[:0], is_valid[:0]) == []


def test_near_pairs_are_those_of_a_full_comparison():
    rng = np.random.RandomState(0)
    signatures = rng.randint(0, 256, (300, 16)).astype(np.uint8)
    for first, second, bits in ((1, 200, 7), (5, 6, 3), (10, 299, 8)):
        row = np.unpackbits(signatures[first])
        row[rng.choice(128, bits, replace=False)] ^= 1
        signatures[second] = np.packbits(row)
    compared = []
    assert sorted(near_pairs(signatures, compared.append)) == [(1, 200), (5, 6)]
    assert sum(compared) == BANDS * 300


def test_signatures_survive_scaling_and_compression(photos):
    for photo in photos[:6]:
        _, pixels = examine(photo)
        image = Image.fromarray(pixels)
        changed = encode(image.resize((image.width // 3, image.height // 3)), "JPEG", quality=60)
        _, other = examine(changed)
        bits = np.unpackbits(signature(pixels) ^ signature(other)).sum()
        assert bits <= 7
        assert likeness(pixels, other) > 0.99
    assert signature(np.full((50, 50, 3), 200, np.uint8)) is None


def test_digest_of_pixels_knows_the_shape():
    zeros = np.zeros((4, 2, 3), np.uint8)
    assert content_digest(zeros) == content_digest(zeros.copy())
    assert content_digest(zeros) != content_digest(zeros.reshape(2, 4, 3))
    assert content_digest(zeros) != content_digest(zeros.tobytes())


def test_small_helpers():
    assert ranges(np.array([1, 2, 3, 7, 9, 10])) == "1..3, 7, 9..10"
    assert class_num_of({"name": "X", "class_num": 7}) == 7
    distillation = {"models": [{"Teacher": {"name": "X"}}, {"Student": {"class_num": 5}}]}
    assert class_num_of(distillation) == 5
    assert class_num_of({"name": "X"}) is None
