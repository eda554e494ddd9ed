"""What this app promises of faults and of files nobody meant well with, each test named by its goal (``test_f1_…``).

This folder mirrors no package: it goes through the whole app as its users do, and what it promises is told in
``docs/SECURITY.md``. The normal run takes small numbers; ``python -m pytest tests/long`` takes the same code with the
big ones.

| goal | what is promised | where |
|---|---|---|
| F1 | pictures, workflows and settings of others: our own error at most, within 1 s and 64 MB | ``pictures.py`` |
| F2 | LoRA files and what lies beside them: the same, and the model's weights stay as they were | ``lora_files.py`` |
| F3 | presets, negative prompts, cards, lists of models, notes, wildcards, prompts: the same | ``documents.py`` |
| C9 | damaged models: file and cure named, the page is up, the next picture is made | ``test_models.py`` |
| C10 | no network, killed and corrupted downloads: the page is up, fetching goes on | ``test_network.py`` |
| S1 | 100 changes of LoRAs: 20 MB more at most, weights bit-identical afterwards | ``test_swaps.py`` |

Generated cases come from numbers, so each can be made again: a failure names the line that does.
"""
