# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.
"""Teaching a network by a better one during training."""
import torch
from mmagic.registry import HOOKS, MODELS
from mmengine.hooks import Hook
from torch import Tensor

from srdensenet_mm.checkpoints.fitting import check_fit
from srdensenet_mm.checkpoints.reading import read_checkpoint
from srdensenet_mm.datasets.transforms import check_shares
from srdensenet_mm.errors import UserError
from srdensenet_mm.models.channels import channels_of
from srdensenet_mm.models.colour import upscale_through_luma


@HOOKS.register_module()
class TeacherHook(Hook):
    """Mixes a teacher's output, computed for each batch, into the target.

    Use it on a GPU, where a teacher takes about as long as a step of the
    student. On a CPU, make the outputs once with
    ``tools/make_teacher_targets.py``. The teacher reads the batch's LR patches
    alone, so it lacks the pixels around them. It is no part of the model: no
    checkpoint holds it. Several hooks act one after the other. Each mixes its
    share with the target so far.

    Args:
        network (dict): Config of a registered network, 3 -> 3 channels (RGB /
            255) or 1 -> 1 (Y / 255), such as
            ``dict(type='SpandrelNetwork', path=...)``.
        share (float): The output's part of the target, above 0 and at most 1.
            HR has the rest.
        checkpoint (str, optional): The weights, where ``network`` does not
            bring them.
        dtype (str): ``'fp32'``, or ``'bf16'``, which halves the time on a GPU.

    Raises:
        ValueError: ``share`` is out of range.
        UserError: When training begins: the network cannot be built, or has
            another scale than the student.
    """

    priority = 'VERY_HIGH'

    def __init__(self, network: dict, share: float, checkpoint: str | None = None,
                 dtype: str = 'fp32'):
        check_shares([share])
        self.network_cfg, self.share = network, share
        self.checkpoint, self.dtype = checkpoint, dtype

    def before_train(self, runner) -> None:
        """Build the teacher on the student's device."""
        self.device = next(runner.model.parameters()).device
        network = MODELS.build(self.network_cfg)
        if self.checkpoint is not None:
            weights = read_checkpoint(self.checkpoint).weights
            check_fit(network.state_dict(), weights, self.checkpoint)
            network.load_state_dict(weights)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.on_luma = channels_of(network) == 1
        patches = getattr(runner.train_loop, 'patches', None)
        if patches is not None:  # a loop that draws its own
            draw = patches.draw

            def draw_taught(count: int) -> tuple[Tensor, Tensor]:
                low, high = draw(count)
                return low, self.mix(low, high)

            patches.draw = draw_taught

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Mix the target of a data loader's batch."""
        if data_batch is None:
            return
        samples = data_batch['data_samples']
        low = torch.stack(list(data_batch['inputs'])).to(self.device)
        high = torch.stack([sample.gt_img for sample in samples]).to(self.device)
        for sample, target in zip(samples, self.mix(low, high), strict=True):
            sample.set_tensor_data(dict(gt_img=target))

    @torch.no_grad()
    def mix(self, low: Tensor, high: Tensor) -> Tensor:
        """The mixed target.

        Args:
            low (Tensor): LR, shape (N, 3, H, W), RGB, 0..255.
            high (Tensor): HR, or a mix, shape (N, 3, s*H, s*W), RGB, 0..255.

        Returns:
            Tensor: float32, like ``high``.
        """
        low = low.float() / 255
        with torch.autocast(low.device.type, torch.bfloat16, enabled=self.dtype == 'bf16'):
            taught = (upscale_through_luma(self.network, low) if self.on_luma
                      else self.network(low)).float()
        if taught.shape != high.shape:
            raise UserError(f'TeacherHook: {type(self.network).__name__} makes {taught.shape[-1]} '
                            f'pixels of {low.shape[-1]}, the student makes {high.shape[-1]}')
        return (1 - self.share) * high.float() + self.share * 255 * taught.clamp(0, 1)
