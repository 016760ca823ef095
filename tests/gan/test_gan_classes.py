"""The auxiliary classifiers: cross-entropies by hand, who learns from what, and what the twin is for."""

import math

import pytest
import torch
from torch import nn

from mlproject.distributed import ALONE
from mlproject.gan.classes import PixelClasses, Seen, TwinClasses

CHANNELS = [3, 5]


def seen(labels, seed=0):
    drawn = torch.Generator().manual_seed(seed)
    count = len(labels)
    maps = [torch.randn(count, channels, 4, 4, generator=drawn) for channels in CHANNELS]
    return Seen(torch.randn(count, 1, 32, 32, generator=drawn), maps, torch.tensor(labels))


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def twins():
    torch.manual_seed(0)
    return TwinClasses(CHANNELS, 2)


def test_losses_of_twins_by_hand():
    classes = twins()
    # the first says "anomalous" with probability 3/4 whatever it sees, the twin 1/2
    nn.init.zeros_(classes.real.logits.weight)
    nn.init.zeros_(classes.synthetic.logits.weight)
    classes.real.logits.bias.data = torch.tensor([0.0, math.log(3)])
    nn.init.zeros_(classes.synthetic.logits.bias)
    real, fake = seen([0, 0, 1, 1]), seen([0, 1, 1, 1], seed=1)
    losses = classes.losses(real, fake, draw(), ALONE)
    assert losses["class_loss"].item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)
    assert losses["twin_class_loss"].item() == pytest.approx(math.log(2))
    loss, reported = classes.generator_loss(fake, draw(), ALONE)
    first = (math.log(4) + 3 * math.log(4 / 3)) / 4
    assert loss.item() == pytest.approx(first - math.log(2))
    assert {name: value.item() for name, value in reported.items()} == pytest.approx(
        {"generator_class_loss": first, "generator_twin_class_loss": math.log(2)}
    )


@pytest.mark.parametrize(("loss", "learns"), [("class_loss", "real"), ("twin_class_loss", "synthetic")])
def test_each_twin_learns_from_its_own_images(loss, learns):
    classes = twins()
    real, fake = seen([0, 1]), seen([0, 1], seed=1)
    for part in (*real.maps, *fake.maps):
        part.requires_grad_(True)
    classes.losses(real, fake, draw(), ALONE)[loss].backward()
    for name, head in (("real", classes.real), ("synthetic", classes.synthetic)):
        assert [parameter.grad is not None for parameter in head.parameters()] == [name == learns] * 10
    assert (real.maps[0].grad is not None) == (learns == "real")
    assert (fake.maps[0].grad is not None) == (learns == "synthetic")


def test_dropout_is_a_draw_like_any_other():
    classes = twins()
    state = torch.get_rng_state()

    def loss(seed):
        return classes.losses(seen([0, 1, 1]), seen([0, 1, 1]), draw(seed), ALONE)["class_loss"].item()

    assert loss(1) == loss(1) != loss(2)
    assert torch.equal(state, torch.get_rng_state())
    kept = classes._kept(seen([0, 1] * 200), draw(), ALONE)
    assert kept.shape == (2, 400, 16)
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert kept.mean().item() == pytest.approx(1, abs=0.05)
    assert not torch.equal(kept[0], kept[1])


@pytest.mark.parametrize("twin", [True, False])
def test_with_its_twin_the_class_becomes_as_clear_as_it_is(twin):
    """Two classes at -1 and +1 with deviation 1: a generator that learns where to put them, started without any.

    Against a single classifier it draws them ever further apart; the twin ends that where the real ones are.
    """
    torch.manual_seed(0)
    drawn = draw(1)
    classes = TwinClasses([1], 2)
    middles = torch.zeros(2, requires_grad=True)
    critic = torch.optim.Adam(classes.parameters(), lr=5e-3, betas=(0.0, 0.99))
    generator = torch.optim.Adam([middles], lr=1e-2, betas=(0.0, 0.99))

    def images(places):
        labels = torch.randint(2, (64,), generator=drawn)
        values = places[labels] + torch.randn(64, generator=drawn)
        return Seen(values, [values.view(-1, 1, 1, 1)], labels)

    apart = []
    for _ in range(300):
        losses = classes.losses(images(torch.tensor([-1.0, 1.0])), images(middles.detach()), drawn, ALONE)
        critic.zero_grad()
        sum(losses.values()).backward()
        critic.step()
        loss, reported = classes.generator_loss(images(middles), drawn, ALONE)
        generator.zero_grad()
        (loss if twin else reported["generator_class_loss"]).backward()
        generator.step()
        apart.append((middles[1] - middles[0]).item())
    settled = sum(apart[-100:]) / 100
    assert 1.5 < settled < 2.6 if twin else settled > 3.5, settled


def test_the_classifier_of_pixels_learns_from_real_images_alone():
    torch.manual_seed(0)
    classes = PixelClasses(32, 2)
    real, fake = seen([0, 1, 1]), seen([0, 1, 1], seed=1)
    losses = classes.losses(real, fake, draw(), ALONE)
    other = classes.losses(real, seen([0, 1, 1], seed=2), draw(), ALONE)
    assert list(losses) == ["class_loss"]
    assert torch.equal(losses["class_loss"], other["class_loss"])
    loss, reported = classes.generator_loss(fake, draw(), ALONE)
    assert reported == {"generator_class_loss": loss}
