# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
