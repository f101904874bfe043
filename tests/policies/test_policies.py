from __future__ import annotations

import pickle

import pytest
import torch
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2 import functional as tv

from mri_aug.data.imageset import IMAGE_SIZE
from mri_aug.policies import automated, transforms
from mri_aug.policies import registry as policies
from mri_aug.policies.notes import POLICY_DRAWS, POLICY_NOTES
from mri_aug.policies.registry import POLICIES, make_policy

CHANGING = [name for name in POLICIES if name != "none"]
MIXING = ("mixup", "cutmix")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Eight copies of one smooth, lopsided head on black."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, IMAGE_SIZE)] * 2, indexing="ij")
    head = ((x / 0.6) ** 2 + (y / 0.8) ** 2 < 1) * (0.6 + 0.2 * x + 0.1 * torch.sin(9 * y))
    return head.expand(8, 1, -1, -1).contiguous()


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return torch.rand(6, 1, 32, 32, generator=rng(9))


LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])


def test_every_policy_says_what_it_draws_and_what_that_may_do():
    assert list(POLICY_DRAWS) == list(POLICY_NOTES) == list(POLICIES)
    assert all(text and not text.endswith(".") and "|" not in text for text in POLICY_DRAWS.values())
    assert all(note.endswith(".") for note in POLICY_NOTES.values())


# name: the numbers that it draws between, in turn, and how the table puts those that are not 0 to 1
DRAWS = {
    "flip": ([(0, 1)], ["0.5"]),
    "rotate": ([(-15, 15)], ["±15°"]),
    "affine": ([(-10, 10), (-0.1, 0.1), (-0.1, 0.1)], ["±10°", "0.90 to 1.11", "±0.1", "±5 %"]),
    "crop": ([(0.7, 1), (-1, 1)], ["70 to 100 %"]),
    "blur": ([(0, 1.5)], ["0 to 1.2 %", "1.5 of 128 pixels"]),
    "contrast": ([(-0.3, 0.3), (-0.3, 0)], ["0.74 to 1.35", "0.74 to 1"]),
    "noise": ([(0, 0.09)], ["0 to 9 %"]),
    "erase": ([(0, 1), (0.02, 0.33), (-1, 1), (0, 1)], ["0.5", "2 to 33 %", "0.3 to 3.3"]),
    "bias-field": ([(-0.5, 0.5)], ["9 coefficients within ±0.5"]),
    "elastic": ([(-0.09375, 0.09375)], ["±4.7 %", "6 of 128 pixels"]),  # in half widths of 64 pixels
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_policy_draws_as_its_words_say(name, images, monkeypatch):
    ranges, uniform = [], policies._uniform
    monkeypatch.setattr(
        policies, "_uniform", lambda n, low, high, rng: ranges.append((low, high)) or uniform(n, low, high, rng)
    )
    make_policy(name)(images, LABELS, generator=rng())
    drawn, words = DRAWS[name]
    assert [pytest.approx(pair) for pair in drawn] == ranges
    assert all(word in POLICY_DRAWS[name] for word in words)


@pytest.mark.parametrize(
    ("name", "first", "strengths"), [("standard", [], ()), ("traditional", [policies._flip], (0.5,))]
)
def test_a_chain_is_made_of_what_its_words_say(name, first, strengths, images):
    generator, expected = rng(), images
    for step in first:
        expected = step(expected, generator)
    for step in (policies._affine, policies._contrast, policies._bias_field):
        expected = step(expected, generator, *strengths)
    assert torch.equal(make_policy(name)(images, LABELS, generator=rng())[0], expected)
    assert all(part in POLICY_DRAWS[name] for part in ("affine", "contrast", "bias-field"))
    assert ("half their strength" in POLICY_DRAWS[name]) == (strengths == (0.5,))


@pytest.mark.parametrize("step", [policies._affine, policies._contrast, policies._bias_field])
def test_more_strength_changes_more(step, images):
    change = [(step(images, rng(), strength) - images).abs().mean() for strength in (0, 0.5, 1)]
    assert change[0] < 1e-6 and 0 < change[1] < change[2]


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_does_the_same_at_half_the_size(name, images):
    """The same draws change a slice of 64 pixels as one of 128; noise and sharpness have the grain of pixels."""
    mixed = torch.cat([images[:4], images[4:].flip(-2) * 0.7])
    large, _ = make_policy(name)(mixed, LABELS, generator=rng(3))
    small, _ = make_policy(name)(torch.nn.functional.avg_pool2d(mixed, 2), LABELS, generator=rng(3))
    assert small.shape[-1] == IMAGE_SIZE // 2
    if name != "noise":
        bound = 0.001 if name == "blur" else 0.005  # rotating a smooth head costs more than blurring it
        assert (small - torch.nn.functional.avg_pool2d(large, 2)).abs().mean() < bound


def test_mixing_shares_are_drawn_from_the_distributions_of_the_words():
    grey = torch.tensor([0.0, 1.0]).repeat(2000).view(-1, 1, 1, 1).expand(-1, 1, 32, 32)
    labels = torch.arange(2).repeat(2000)
    shares = {}
    for name in MIXING:
        _, targets = make_policy(name, n_classes=2)(grey, labels, generator=rng())
        shares[name] = targets[targets.max(1).values < 1].gather(1, labels[targets.max(1).values < 1, None])
    # four standard errors of the variance of Beta(a, a), 1 / (8 a + 4), among pairs of both classes
    assert float(shares["mixup"].var()) == pytest.approx(1 / (8 * 0.2 + 4), abs=0.01)
    assert float(shares["cutmix"].var()) == pytest.approx(1 / 12, abs=0.01)
    assert "Beta(0.2, 0.2)" in POLICY_DRAWS["mixup"] and "0 to 100 %" in POLICY_DRAWS["cutmix"]


@pytest.mark.parametrize(
    ("name", "low", "high"), [("randaugment", 0.3, 0.3), ("trivialaugment", 0, 1), ("augmix", 0.01, 0.3)]
)
def test_magnitudes_of_the_words_are_drawn(name, low, high, monkeypatch):
    magnitudes = []
    monkeypatch.setattr(automated, "apply_operations_", lambda images, _, magnitude, **__: magnitudes.append(magnitude))
    getattr(automated, name)(torch.zeros(2000, 1, 1, 1), rng())
    drawn = torch.cat(magnitudes)
    assert low <= drawn.min() <= low + 0.01 and high - 0.01 <= drawn.max() <= high + 1e-6


@pytest.mark.parametrize("name", POLICIES)
def test_output_is_an_image_and_input_is_untouched(name, images):
    before = images.clone()
    changed, targets = make_policy(name)(images, LABELS, generator=rng())
    assert changed.shape == images.shape and changed.dtype == images.dtype
    assert torch.isfinite(changed).all() and changed.min() >= 0 and changed.max() <= 1
    torch.testing.assert_close(images, before, rtol=0, atol=0)
    if name in MIXING:
        assert targets.shape == (8, 4) and targets.dtype == torch.float32
        torch.testing.assert_close(targets.sum(1), torch.ones(8))
    else:
        assert targets is LABELS


@pytest.mark.parametrize("name", POLICIES)
def test_same_generator_same_bits_and_no_global_state(name, images):
    state = torch.get_rng_state()
    policy = make_policy(name)
    first, second, other = (policy(images * 0.9, LABELS, generator=rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert torch.equal(torch.get_rng_state(), state)
    if name not in ("none", *MIXING):  # mixing copies of one image changes nothing
        assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("name", CHANGING)
def test_each_image_has_its_own_draw(name, images):
    many = images[:1].repeat(32, 1, 1, 1)
    if name in MIXING:  # every second image black: the grey that is left shows the share
        many[::2] = 0
    changed, _ = make_policy(name)(many, torch.zeros(32, dtype=torch.int64), generator=rng())
    n_different = len(torch.unique(changed.flatten(1), dim=0))
    assert n_different == 2 if name == "flip" else n_different > 6


@pytest.mark.parametrize(
    "name", ["flip", "rotate", "affine", "contrast", "erase", "bias-field", "standard", "traditional"]
)
def test_background_stays_black(name, images):
    changed, _ = make_policy(name)(images, LABELS, generator=rng())
    assert changed[..., :3, :].max() == 0 and changed[..., :, :3].max() == 0


def test_half_precision_and_pickling(images):
    policy = pickle.loads(pickle.dumps(make_policy("traditional")))
    changed, _ = policy(images.bfloat16(), LABELS, generator=rng())
    expected, _ = policy(images.bfloat16().float(), LABELS, generator=rng())
    assert torch.equal(changed, expected.bfloat16())


def test_flip_is_exact_and_flips_half(images):
    changed, _ = make_policy("flip")(images.repeat(50, 1, 1, 1), LABELS.repeat(50), generator=rng())
    same = (changed == images[0]).flatten(1).all(1)
    assert torch.equal(changed[~same], images[0].flip(-1).expand_as(changed[~same]))
    assert 160 < same.sum() < 240  # four standard errors around 200


def test_mixup_weighs_labels_as_images():
    # Image i is constant i / 3 of class i: the mixed grey value must be the expected class over 3.
    labels = torch.arange(4).repeat(8)
    images = (labels / 3).view(-1, 1, 1, 1).expand(-1, 1, 16, 16)
    for name in MIXING:
        mixed, targets = make_policy(name)(images, labels, generator=rng(3))
        expected = targets @ torch.arange(4.0) / 3
        torch.testing.assert_close(mixed.mean((1, 2, 3)), expected, atol=1e-5, rtol=0)
        assert ((targets > 0).sum(1) == 2).any()


def test_n_classes_is_the_width_of_soft_labels(images):
    assert make_policy("mixup", n_classes=7)(images, LABELS, generator=rng())[1].shape == (8, 7)


def test_rotation_by_a_quarter_is_exact(noise):
    turned = transforms.warp(noise, transforms.affine_matrices(6, degrees=90.0))
    torch.testing.assert_close(turned, torch.rot90(noise, 1, (-2, -1)), atol=1e-4, rtol=0)


def test_affine_matches_torch_affine_grid(noise):
    matrices = transforms.affine_matrices(
        6, degrees=torch.linspace(-40, 40, 6), zoom=1.3, shear_x=0.2, shear_y=-0.1, shift_x=0.3, shift_y=0.1
    )
    grid = torch.nn.functional.affine_grid(matrices, list(noise.shape), align_corners=False)
    expected = torch.nn.functional.grid_sample(noise, grid, align_corners=False)
    torch.testing.assert_close(transforms.warp(noise, matrices), expected, atol=1e-4, rtol=0)
    determinant = torch.linalg.det(matrices[:, :, :2])
    torch.testing.assert_close(determinant, torch.full((6,), (1 + 0.02) / 1.3**2))  # area = shear's over zoom squared


def test_shift_by_whole_pixels_fills_with_black(noise):
    moved = transforms.warp(noise, transforms.affine_matrices(6, shift_x=2 * 4 / 32))
    torch.testing.assert_close(moved[..., :-4], noise[..., 4:], atol=1e-4, rtol=0)
    assert moved[..., -4:].abs().max() < 1e-4


def test_elastic_of_equal_control_points_is_a_shift():
    control = torch.full((1, 2, transforms.LATTICE_POINTS, transforms.LATTICE_POINTS), 0.25)
    field = transforms.elastic_displacement(control, image_size=128)
    torch.testing.assert_close(field, torch.full((1, 2, 128, 128), 0.25))  # B-splines sum to one everywhere


def test_elastic_does_not_fold():
    points = transforms.LATTICE_POINTS
    control = (torch.rand(64, 2, points, points, generator=rng()) * 2 - 1) * 6.0
    field = transforms.elastic_displacement(control, image_size=128)
    dx, dy = field.diff(dim=-1)[:, :, :-1], field.diff(dim=-2)[..., :-1]
    jacobian = (1 + dx[:, 0]) * (1 + dy[:, 1]) - dx[:, 1] * dy[:, 0]
    assert jacobian.min() > 0


def test_rectangles_have_the_area_and_lie_inside():
    n = 200
    area = torch.rand(n, generator=rng(1)) * 0.9 + 0.05
    corner = torch.rand(2, n, generator=rng(2))
    inside = transforms.rectangles((128, 128), area=area, aspect=torch.ones(n), corner=corner)
    torch.testing.assert_close(inside.float().mean((1, 2)), area, atol=0.01, rtol=0)
    full = transforms.rectangles((8, 8), area=torch.ones(1), aspect=torch.ones(1), corner=torch.full((2, 1), 0.99))
    assert full.all()


def test_photometric_kernels_match_torchvision(noise):
    value = torch.linspace(0.2, 1.8, 6)
    bits = torch.tensor([2.0, 3.0, 4.0, 5.0, 6.0, 8.0])
    sigma = torch.linspace(0.3, 1.5, 6)
    mine = {
        "sharpen": transforms.sharpen(noise, value),
        "brightness": transforms.change_brightness(noise, value),
        "contrast": transforms.change_contrast(noise, value),
        "posterize": transforms.posterize(noise, bits),
        "solarize": transforms.solarize(noise, value / 2),
        "blur": transforms.blur(noise, sigma)[..., 4:-4, 4:-4],
    }
    for i, image in enumerate(noise):
        theirs = {
            "sharpen": tv.adjust_sharpness(image, float(value[i])),
            "brightness": tv.adjust_brightness(image, float(value[i])),
            "contrast": tv.adjust_contrast(image, float(value[i])),
            "posterize": tv.posterize(image, int(bits[i])),
            "solarize": tv.solarize(image, float(value[i] / 2)),
            "blur": tv.gaussian_blur(image, [9, 9], [float(sigma[i])] * 2)[..., 4:-4, 4:-4],
        }
        for name, expected in theirs.items():
            torch.testing.assert_close(mine[name][i], expected, atol=1e-5, rtol=0, msg=f"{name} of image {i}")


def test_rician_noise_has_its_moments():
    # E[m^2] = A^2 + 2 sigma^2 (Gudbjartsson and Patz 1995, eq. 2); without signal it is Rayleigh's distribution.
    sigma = torch.tensor([0.05, 0.05])
    signal = torch.tensor([0.5, 0.0]).view(2, 1, 1, 1).expand(2, 1, 256, 256)
    noisy = transforms.rician_noise(signal, sigma, generator=rng())
    torch.testing.assert_close(noisy.square().mean((1, 2, 3)), torch.tensor([0.255, 0.005]), rtol=0.02, atol=0)
    assert abs(float(noisy[1].mean()) / (0.05 * (torch.pi / 2) ** 0.5) - 1) < 0.02


def test_bias_field_is_smooth_and_keeps_the_brightest(images):
    n = len(transforms.BIAS_TERMS)
    coefficients = torch.rand(8, n, generator=rng()) - 0.5
    flat = torch.full_like(images, 0.7)
    shaded = transforms.bias_field(flat, coefficients)
    torch.testing.assert_close(shaded.amax((1, 2, 3)), torch.full((8,), 0.7))
    assert shaded.std((1, 2, 3)).min() > 0.02 and shaded.diff(dim=-1).abs().max() < 0.05
    torch.testing.assert_close(transforms.bias_field(images, torch.zeros(8, n)), images)


@pytest.mark.parametrize("name", automated.OPERATIONS)
def test_an_operation_changes_only_the_images_that_drew_it(name, images):
    operation = torch.tensor([0, automated.OPERATIONS.index(name)] * 4)
    changed = automated.apply_operations_(images.clone(), operation, torch.full((8,), 0.6), generator=rng())
    assert torch.equal(changed[::2], images[::2])
    assert torch.equal(changed[1::2], images[1::2]) == (name == "Identity")


def drawn_shares(name, monkeypatch, n=20_000):
    """Return how often each step of a policy draws each operation, shape (n_steps, n_operations)."""
    steps = []
    monkeypatch.setattr(automated, "apply_operations_", lambda images, operation, *_, **__: steps.append(operation))
    with torch.no_grad():
        getattr(automated, name)(torch.zeros(n, 1, 1, 1), rng())
    return torch.stack([torch.bincount(step, minlength=len(automated.OPERATIONS)) / n for step in steps])


def test_autoaugment_draws_as_its_table_says(monkeypatch):
    table = AutoAugment(AutoAugmentPolicy.IMAGENET).policies
    expected = torch.zeros(2, len(automated.OPERATIONS))
    for pair in table:
        for step, (name, chance, _) in enumerate(pair):
            if name in automated.OPERATIONS:
                expected[step, automated.OPERATIONS.index(name)] += chance / len(table)
    expected[:, 0] = 1 - expected.sum(1)
    torch.testing.assert_close(drawn_shares("autoaugment", monkeypatch), expected, atol=0.015, rtol=0)


def test_randaugment_draws_each_operation_alike_and_never_inverts(monkeypatch):
    shares = drawn_shares("randaugment", monkeypatch)
    torch.testing.assert_close(shares[:, :-1], torch.full((2, 13), 1 / 13), atol=0.01, rtol=0)
    assert shares[:, -1].max() == 0


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown policy 'sharpen'; choose one of: none, flip, .*cutmix"):
        make_policy("sharpen")


@pytest.mark.parametrize("shape_and_type", [((2, 1, 8, 8), torch.uint8), ((2, 3, 8, 8), torch.float32), ((8, 8), None)])
def test_wrong_images_are_named(shape_and_type):
    bad = torch.zeros(shape_and_type[0], dtype=shape_and_type[1])
    with pytest.raises(ValueError, match="policy 'flip' takes float images"):
        make_policy("flip")(bad, torch.zeros(2, dtype=torch.int64), generator=rng())


def test_images_elsewhere_than_their_generator_are_named():
    labels = torch.zeros(2, dtype=torch.int64, device="meta")
    with pytest.raises(ValueError, match="meta"):
        make_policy("flip")(torch.zeros(2, 1, 8, 8, device="meta"), labels, generator=rng())
