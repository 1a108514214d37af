# Logging, checkpoints and safety hooks of all recipes, on top of MMagic's defaults.
_base_ = 'mmagic::_base_/default_runtime.py'

custom_imports = dict(imports=['srdensenet_mm'], allow_failed_imports=False)

default_hooks = dict(
    checkpoint=dict(
        type='SafeCheckpointHook',
        interval=5000,
        # MMagic's own value sends checkpoints of every --work-dir to ./work_dirs.
        out_dir=None,
        max_keep_ckpts=3,
        save_best='PSNR',
        rule='greater'),
    # Validations by iteration: MMEngine's default logs all of them at epoch 0.
    logger=dict(log_metric_by_epoch=False),
    # In default_hooks, so that a recipe's custom_hooks do not replace them.
    dead_maps=dict(type='DeadMapsHook'),
    stop_on_invalid_loss=dict(type='StopOnInvalidLossHook'),
    save_on_signal=dict(type='SaveOnSignalHook'))

# MMagic's hook would write every validation image to disk, every time.
custom_hooks = []

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(vis_backends=vis_backends)
