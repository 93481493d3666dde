"""The mistakes a user can make: one sentence each, exit code 2, no traceback."""


class UserError(ValueError):
    """A wrong value, file or combination. The message names the value, what is allowed and what to do."""


class DataError(UserError):
    """Bad rows or missing task sets. The message names the file and, where there is one, the line."""


class CheckpointError(UserError):
    """A checkpoint or model folder that is missing, damaged or does not fit."""
