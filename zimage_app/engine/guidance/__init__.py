"""How a picture is led: classifier-free guidance, and rules that change texts, attention or guidance's result.

A rule is a class in a file of its own and a line in the table ``rules.py``; nothing else knows it. ``model.py`` puts
together what a sampler calls.
"""
