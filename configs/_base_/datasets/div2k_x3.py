# div2k_x4.py at x3, with patches of a multiple of 3 pixels.
_base_ = ['./div2k_train.py', './sisr_x3.py']

changes = dict(
    SetValues=dict(dictionary=dict(scale=3)), PairedRandomCrop=dict(gt_patch_size=99))

train_dataloader = dict(dataset=dict(
    data_prefix=dict(img='DIV2K_train_LR_bicubic/X3_sub'),
    pipeline=[dict(step, **changes.get(step.type, {}))
              for step in _base_.train_dataloader.dataset.pipeline]))
