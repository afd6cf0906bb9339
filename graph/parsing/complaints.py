"""What is wrong with a reply: a sentence, which the model is told when it is asked to repair it."""


class Hopeless(str):
    """A complaint about a reply that another try would not mend, so that none is asked for."""
