r"""SRDenseNet as the encoder of LIIF: one network for all upscale factors, trained at x1 to x4.

    python tools/train.py configs/srdensenet_liif.py
    python tools/infer.py photo.png --checkpoint work_dirs/srdensenet_liif/iter_2800.pth \
        --scale 2.7 --out upscaled

The images are those of srdensenet_x4.py; docs/arbitrary_scale.md says more. The test sets need x6:
python tools/prepare_dataset.py Set5/HR data/Set5 --scales 2 3 4 6
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_liif.py',
    '_base_/datasets/hr_folders_train.py',
    '_base_/datasets/liif_test.py',
    '_base_/schedules/muon_linear.py',
]
# All but the deconvolutions and the last convolution, in whose place LIIF stands.
load_from = 'checkpoints/srdensenet_x4-2708f7eb.pth'

lr_patch_size = 24
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=_base_.train_folders,
        on_bad_image='skip',
        min_size=4 * lr_patch_size,
        pipeline=[
            dict(type='RandomScalePatchPair', scale_min=1, scale_max=4,
                 lr_patch_size=lr_patch_size),
            *_base_.train_pipeline[1:-1],
            # Not more than the pixels of a patch at x1.
            dict(type='GenerateCoordinateAndCell', sample_quantity=lr_patch_size**2),
            dict(type='PackInputs'),
        ]))
custom_hooks = [*_base_.kept_alive, _base_.ema]
default_hooks = dict(
    checkpoint=dict(interval=250, max_keep_ckpts=2, save_best='Set5x4-Y/PSNR'),
    logger=dict(interval=50))

max_iters = 2800
train_cfg = dict(max_iters=max_iters, val_interval=1400)
param_scheduler = [
    _base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
