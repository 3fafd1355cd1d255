"""What a person who presses Ctrl-C has to know."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; `what` (str) says in a sentence what was done by then, or was not."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)
