"""The stage train_gan hands the training what its options ask for."""

import numpy as np

from mlproject.gan.batches import reach_px
from mlproject.stages import gan as stage

PHANTOM = ("--data.source", "phantom", "--data.n_train", "12", "--data.n_val", "6", "--data.n_test", "6")


def test_moved_images_are_cut_from_their_frames_when_asked_for(new_workshop, monkeypatch):
    given, train = [], stage.train

    def noted(images, labels, config, *, surroundings, **rest):
        given.append((images, config, surroundings))
        return train(images, labels, config, surroundings=surroundings, **rest)

    monkeypatch.setattr(stage, "train", noted)
    new_workshop("stage").succeed("train_gan", *PHANTOM, "--cut_anew", "true", "--turn_deg", "5")
    ((images, config, surroundings),) = given
    size, reach = images.shape[1], reach_px(config, images.shape[1])
    side = surroundings.shape[1]
    scale = (side - 1) // (size + 2 * reach - 1)
    assert scale * (size + 2 * reach - 1) == side - 1
    unmoved = slice(scale * reach, scale * (reach + size - 1) + 1, scale)
    assert np.array_equal(surroundings[:, unmoved, unmoved], images)
    # around them is the frame, and not the crop's own edges
    mirrored = np.pad(images, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    assert not np.array_equal(surroundings[:, ::scale, ::scale], mirrored)
