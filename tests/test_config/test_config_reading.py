# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
import re

import pytest

from srdensenet_mm.config.reading import resolve_config
from srdensenet_mm.errors import UserError


@pytest.mark.parametrize('package', ['nopackage', 'nopackage.part', '.part', ''])
def test_what_names_no_package(package):
    with pytest.raises(UserError, match=re.escape(
            f'{package}::a.py: the package {package!r} is not installed')):
        resolve_config(f'{package}::a.py')
