"""The networks of the tiny base before training: one latent-diffusion model in under 15 MB of float16 weights.

Same parts and folder format as Stable Diffusion, so that everything that runs on `tiny` runs on the real ones.
Eight latent channels instead of four: at this size an 8x smaller four-channel latent loses the houses.
"""

import json
from collections.abc import Iterable

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

RESOLUTION_PX = 128
LATENT_CHANNELS = 8
TEXT_WIDTH = 64
TEXT_TOKENS = 77
VOCABULARY = 1024
END_OF_WORD = "</w>"


def tiny_vae() -> AutoencoderKL:
    """8x downsampling; fully convolutional, so that it can be trained on crops."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 48, 64, 96),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=RESOLUTION_PX,
        force_upcast=False,
    )


def tiny_unet() -> UNet2DConditionModel:
    """Three levels, text cross-attention on the upper two."""
    return UNet2DConditionModel(
        sample_size=RESOLUTION_PX // 8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 96, 128),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
        use_linear_projection=True,
    )


def tiny_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """CLIP's byte-pair encoding with a small vocabulary learned from the captions; the same in every run."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # As in CLIP's own vocabulary; the trainer by itself would number the last letters in an order of chance.
    given = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + END_OF_WORD for letter in letters)]
    untrained = CLIPTokenizer(vocab={token: index for index, token in enumerate(given)}, merges=[])
    learned = Tokenizer.from_str(untrained.backend_tokenizer.to_str())
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=given,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    learned.train_from_iterator(captions, trainer)
    model = json.loads(learned.to_str())["model"]
    return CLIPTokenizer(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], model_max_length=TEXT_TOKENS
    )


def tiny_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Two transformer layers; trained together with the UNet."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TEXT_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def tiny_noise_schedule() -> DDIMScheduler:
    """Stable Diffusion's schedule, rescaled so that it ends in pure noise; v-prediction.

    Without the rescaling the last timestep still shows the mean colour of the image; sampling then starts from a colour
    of chance (Lin et al., "Common diffusion noise schedules and sample steps are flawed", 2024, sections 3.1 to 3.3).
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )
