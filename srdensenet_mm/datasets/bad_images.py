# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import logging
from collections.abc import Hashable

from mmengine.logging import print_log

from srdensenet_mm.errors import UserError

SKIP_HELP = "(set the dataset's on_bad_image='skip' to go on without such images)"


class BadImages:
    """A dataset's unusable images, which are refused, or skipped and counted.

    Args:
        on_bad_image (str): ``'raise'``, or ``'skip'``: name a bad image once in
            the log and go on.
        hint (str): The way out, added to the message.

    Attributes:
        reason (str, optional): The fault of the last one.
    """

    def __init__(self, on_bad_image: str, hint: str = SKIP_HELP):
        self.skips = on_bad_image == 'skip'
        self.hint = hint
        self.reason: str | None = None
        self._found: set[Hashable] = set()

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, image: Hashable) -> bool:
        return image in self._found

    def add(self, image: Hashable, reason: str, error: Exception) -> None:
        """Take an image out of the dataset.

        Args:
            image (Hashable): Its path or index.
            reason (str): One line that names its file.
            error (Exception): The cause.

        Raises:
            UserError: Bad images are refused.
        """
        if not self.skips:
            raise UserError(f'{reason} {self.hint}'.strip()) from error
        self._found.add(image)
        self.reason = reason
        print_log(f'skipped, number {len(self)}: {reason}', 'current', logging.WARNING)
