"""How fast it is, each figure beside a floor or a peer that was measured in the same run.

``python -m benchmarks`` prints one table. Nothing here is a test, and nothing here fails because something is slow: a
ratio above its aim is reported as that. What a floor does and does not do stands in its docstring, in ``floors``; what
a peer does, in ``peers``.
"""
