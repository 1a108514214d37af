r"""The published x3 weights, fine-tuned from the x4 ones before the last phase.

    python tools/train.py configs/srdensenet_x3_released.py

and again from the average that this gave, 33.34 dB on Set5, for its deconvolution is new:

    python tools/train.py configs/srdensenet_x3_released.py --work-dir work_dirs/x3_again \
        --cfg-options load_from=work_dirs/srdensenet_x3_released/iter_2000.pth \
        optim_wrapper.optimizer.lr=5e-4 train_cfg.max_iters=1200 param_scheduler.1.end=1200
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/hr_folders_x3.py',
    '_base_/schedules/muon_linear.py',
]
model = dict(generator=dict(upscale_factor=3))
# Its deconvolutions are of stride 2, so that the one of stride 3 begins anew.
load_from = 'checkpoints/srdensenet_x4-8c43b9a8.pth'

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=['data/train/T91', 'data/train/BSD400', 'data/train/ImageNet1k-256'],
        # Smaller is sharper: the images are photographs of middling quality and JPEGs.
        shrink=(0.5, 0.6, 0.7, 0.8),
        on_bad_image='skip'))

max_iters = 2000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    _base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
custom_hooks = [_base_.ema]
default_hooks = dict(
    checkpoint=dict(interval=250, max_keep_ckpts=2), logger=dict(interval=50))
