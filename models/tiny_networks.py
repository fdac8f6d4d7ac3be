"""The networks of the tiny base before training: one latent-diffusion model in under 30 MB of float16 weights.

Same parts and folder format as Stable Diffusion, so that everything that runs on `tiny` runs on the real ones. Their
sizes are in configs/tiny_base.yaml, and the reasons in docs/tiny-base.md.
"""

import json
from collections.abc import Iterable, Sequence

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

RESOLUTION_PX = 128
TEXT_TOKENS = 77
VOCABULARY = 1024
END_OF_WORD = "</w>"


def tiny_vae(channels: Sequence[int], latent_channels: int, layers: int = 1) -> AutoencoderKL:
    """Fully convolutional, so that it can be trained on crops; every level but the last halves the image.

    Args:
        channels: of every level, from the full resolution on; multiples of 8. Four levels make latents 8x smaller.
        latent_channels: numbers per latent cell.
        layers: residual blocks of a level of the encoder; the decoder has one more.
    """
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=tuple(channels),
        layers_per_block=layers,
        latent_channels=latent_channels,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=RESOLUTION_PX,
        scaling_factor=1.0,
        force_upcast=False,
    )


def tiny_unet(
    channels: Sequence[int], latent_channels: int, text_width: int, *, layers: int = 1, sample_size: int = 16
) -> UNet2DConditionModel:
    """Text cross-attention on every level but the last.

    Args:
        channels: of every level, multiples of 16.
        latent_channels: of the autoencoder.
        text_width: of the text encoder.
        layers: residual blocks of a level on the way down; there is one more on the way up.
        sample_size: side of the latents.
    """
    with_text = len(channels) - 1
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=tuple(channels),
        layers_per_block=layers,
        down_block_types=("CrossAttnDownBlock2D",) * with_text + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * with_text,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
        use_linear_projection=True,
    )


def tiny_tokenizer(captions: Iterable[str], vocabulary: int = VOCABULARY) -> CLIPTokenizer:
    """CLIP's byte-pair encoding with at most `vocabulary` tokens learned from captions; the same in every run."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # As in CLIP's own vocabulary; the trainer by itself would number the last letters in arbitrary order.
    given = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + END_OF_WORD for letter in letters)]
    untrained = CLIPTokenizer(vocab={token: index for index, token in enumerate(given)}, merges=[])
    learned = Tokenizer.from_str(untrained.backend_tokenizer.to_str())
    trainer = BpeTrainer(
        vocab_size=vocabulary, special_tokens=given, end_of_word_suffix=END_OF_WORD, show_progress=False
    )
    learned.train_from_iterator(captions, trainer)
    model = json.loads(learned.to_str())["model"]
    return CLIPTokenizer(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], model_max_length=TEXT_TOKENS
    )


def tiny_text_encoder(tokenizer: CLIPTokenizer, width: int = 64, layers: int = 2) -> CLIPTextModel:
    """A transformer like CLIP's, `width` a multiple of 4; trained together with the UNet."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=TEXT_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def tiny_noise_schedule() -> DDIMScheduler:
    """Stable Diffusion's schedule, rescaled so that it ends in pure noise; v-prediction.

    Without the rescaling the last timestep still shows the mean colour of the image; sampling then starts from a random
    mean colour (Lin et al., "Common diffusion noise schedules and sample steps are flawed", 2024, sections 3.1 to 3.3).
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
