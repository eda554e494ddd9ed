"""The names that a LoRA's keys are checked against, from a model's headers.

Importing this module imports torch and diffusers, unlike the rest of the library.
"""

from __future__ import annotations

from zimage_app.models.find.model_files import model_files
from zimage_app.models.find.model_source import ModelSource
from zimage_app.models.lora.names import Names
from zimage_app.models.networks.networks import TRANSFORMER, open_network


def module_names(source: ModelSource) -> Names:
    """The names of a model's modules, in every spelling that LoRA files use; weights are not read.

    Raises:
        ModelError: the model's files are missing or damaged.
    """
    module = open_network(TRANSFORMER, model_files(source).transformer).module
    return Names({name: tuple(parameter.shape) for name, parameter in module.named_parameters()})
