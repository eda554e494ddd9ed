"""Checks a LoRA's keys against a model's modules, without loading or applying weights.

Importing this module imports torch and diffusers, unlike the rest of the library.
"""

from __future__ import annotations

from zimage_app.models.find.model_files import model_files
from zimage_app.models.find.model_source import ModelSource
from zimage_app.models.lora.names import Names
from zimage_app.models.lora.parsing import LoraFile, read_lora
from zimage_app.models.networks.networks import TRANSFORMER, open_network
from zimage_app.service.library.loras.entry import LoraEntry


def module_names(source: ModelSource) -> Names:
    """The names of a model's modules, in every spelling that LoRA files use; weights are not read.

    Raises:
        ModelError: the model's files are missing or damaged.
    """
    module = open_network(TRANSFORMER, model_files(source).transformer).module
    return Names({name: tuple(parameter.shape) for name, parameter in module.named_parameters()})


def check(entry: LoraEntry, names: Names) -> LoraFile:
    """The parts of a file that apply to the model and those that don't, with the reasons.

    Raises:
        LoraError: nothing applies, or the file is damaged; names the key.
    """
    return read_lora(entry.path, names)
