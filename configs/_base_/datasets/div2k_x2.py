# div2k_x4.py at x2.
_base_ = ['./div2k_train.py', './sisr_x2.py']

changes = dict(
    SetValues=dict(dictionary=dict(scale=2)), PairedRandomCrop=dict(gt_patch_size=100))

train_dataloader = dict(dataset=dict(
    data_prefix=dict(img='DIV2K_train_LR_bicubic/X2_sub'),
    pipeline=[dict(step, **changes.get(step.type, {}))
              for step in _base_.train_dataloader.dataset.pipeline]))
