"""Built-in defaults: what a setting is when neither spec nor template says. Every number has its source.

Sources: [guide] the hosted product's guide (batches of four, 2000 steps or more); [peers] the common ground of kohya
sd-scripts, OneTrainer, SimpleTuner and ai-toolkit (alpha = rank, 1e-4 at batch 4, clip 1, weight decay 0.01);
[min-snr] Hang et al. 2023, section 3.4; [ti] Gal et al. 2022 and the diffusers example; [pivotal] diffusers' advanced
example for Stable Diffusion XL; [dreambooth] Ruiz et al. 2023 and the diffusers example; [prodigy] Mishchenko and
Defazio 2023 and their package's advice; [flux] ai-toolkit's example for FLUX.1; [here] chosen here, see DECISIONS.md.
"""

from __future__ import annotations

from atelier_contract.architectures import Architecture

STEPS = 2000  # [guide]
BATCH_SIZE = 4  # [guide]
BATCH_SIZES = {
    Architecture.STABLE_DIFFUSION_1: BATCH_SIZE,
    Architecture.STABLE_DIFFUSION_XL: BATCH_SIZE,
    Architecture.FLUX_1: 1,  # [flux] one picture of 1024 px is 4,096 tokens, enough work for a GPU
}
CONCEPT_LEARNING_RATE = 1e-4  # [peers]
EMBEDDING_LEARNING_RATE = 5e-4  # [ti]
PRODIGY_LEARNING_RATE = 1.0  # [prodigy] a factor on the rate that it finds
OPTIMIZER = "AdamW"  # [peers] equal to its 8-bit form in every published comparison, and it needs no further library
RANK = 16  # [peers]
TARGETS = "attentionMlp"  # [peers] attention alone leaves a gap to full fine-tuning; the MLP closes it
ADAPTER_DROPOUT = 0.0  # [peers]
VECTORS = 4  # [here] one vector underfits most objects
INITIAL_PHRASE = "object"  # [here] neutral, and within the guide's eight characters
PIVOTAL_VECTORS = 2  # [pivotal]
PIVOTAL_LEARNING_RATE = 3e-4  # [pivotal]
PIVOTAL_UNTIL_PERCENT = 50  # [pivotal] the embedding learns in the first half
PRIOR_WEIGHT = 1.0  # [dreambooth]
PRIOR_PICTURES = 50  # [here] the target is the base model's answer, not the picture: fewer than DreamBooth's 200 serve
SNR_GAMMA = 5.0  # [min-snr]; families without signal-to-noise weights have none
LOSS = "mse"  # [peers]
HUBER_DELTA = 0.1  # [peers] kohya sd-scripts' huber_c
NOISE_OFFSET = 0.0  # [peers] off; 0.0357 is its author's advice where it is wanted
EMA_DECAY = 0.0  # [peers] off for adapters
CAPTION_DROPOUT = 0.05  # [peers] keeps the empty prompt, and with it guidance, working
EMBEDDING_CAPTION_DROPOUT = 0.0  # [ti] a dropped caption would train nothing: the placeholder is in it
WARMUP_STEPS = 0  # [peers]
RESTARTS = 3  # [peers] the count of a large site's own trainer, where restarts are chosen at all
KEEP_TAGS = 1  # [peers] the first tag is the trigger's
METADATA = "minimal"  # [here] no captions and no names leave with a model file
SCHEDULE = "cosine"  # [here] ends at 0, so the last checkpoint is the calmest
WEIGHT_DECAY = 0.01  # [peers]
EMBEDDING_WEIGHT_DECAY = 0.0  # [ti] decay would pull the vectors to 0, away from real words
MAX_GRAD_NORM = 1.0  # [peers]
SAMPLER_STEPS = 20  # [here] enough for DDIM to settle
CHECKPOINT_SHARE = 10  # a checkpoint every tenth of the steps [here]
GRACE_SECONDS = 600  # [here] time to notice a wrong selection
START_DEADLINE_SECONDS = 1800  # [here] a large image on a slow registry takes ten minutes

GUIDANCE = {
    Architecture.STABLE_DIFFUSION_1: 7.5,  # the family's published pipelines
    Architecture.STABLE_DIFFUSION_XL: 5.0,
    Architecture.FLUX_1: 3.5,
}
MEMORY = {
    Architecture.STABLE_DIFFUSION_1: "12Gi",  # [here] weights in float32 once, pictures, latents, headroom
    Architecture.STABLE_DIFFUSION_XL: "24Gi",
    Architecture.FLUX_1: "64Gi",
}
EPHEMERAL_STORAGE = {
    Architecture.STABLE_DIFFUSION_1: "20Gi",
    Architecture.STABLE_DIFFUSION_XL: "40Gi",
    Architecture.FLUX_1: "100Gi",
}
CPU = "2"  # [here]
GPU_RESOURCE = "nvidia.com/gpu"  # NVIDIA's device plugin
SHORT_JOB_CPU = "500m"  # [here] inspect, preflight, publish, collect
SHORT_JOB_MEMORY = "1Gi"
SHORT_JOB_EPHEMERAL_STORAGE = "4Gi"
SHORT_JOB_DEADLINE_SECONDS = 3600
