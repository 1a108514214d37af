# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.


def type_name(kind: str | type | None) -> str:
    """The bare name of a config's ``type``, given as a class or as a name with or without scope.

    ``'SRDenseNet'`` for ``SRDenseNet``, ``'mmagic.SRDenseNet'`` and the class.
    """
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]
