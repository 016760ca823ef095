"""The networks by name: `dcgan`, that of the thesis, and `compact`, which a laptop trains in minutes."""

from mlproject.config import GanConfig
from mlproject.errors import UserError
from mlproject.gan.classes import PixelClasses
from mlproject.gan.compact import CompactCritic, CompactGenerator
from mlproject.gan.conditional import ConditionalCritic, ConditionalGenerator
from mlproject.gan.dcgan import DcganCritic, DcganGenerator


def build_networks(
    config: GanConfig, *, size: int, n_classes: int = 2
) -> tuple[ConditionalGenerator, ConditionalCritic]:
    """Generator and critic of `config.architecture`, with freshly drawn weights from torch's global state.

    `training.train_gan` forks that state and seeds it, so that nothing outside sees the draw. With
    `config.auxiliary` above 0 the critic carries `PixelClasses` as `critic.classes`, unless it is to be twins, which
    see the maps of the feature critic and are made with it.

    Raises:
        UserError: unknown architecture, unusable size, or twins without a feature critic.
    """
    generator: ConditionalGenerator
    critic: ConditionalCritic
    if config.architecture == "dcgan":
        generator = DcganGenerator(size, config.latent_dim, config.base_channels, n_classes)
        critic = DcganCritic(size, config.base_channels, n_classes)
    elif config.architecture == "compact":
        generator, critic = CompactGenerator(config, size, n_classes), CompactCritic(config, size, n_classes)
    else:
        raise UserError(f"gan.architecture: {config.architecture!r} is unknown; use dcgan or compact")
    if config.auxiliary > 0 and config.auxiliary_kind == "pixels":
        critic.classes = PixelClasses(size, n_classes)
    elif config.auxiliary > 0 and config.feature_critic == 0:
        raise UserError(
            "gan.auxiliary_kind: twins see the maps of the feature critic, and gan.feature_critic is 0; give it a "
            "weight, or take pixels"
        )
    return generator, critic
