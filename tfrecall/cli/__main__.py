"""`python -m tfrecall.cli`: the same as the `tfrecall` command."""

from tfrecall.cli import main

main()
