"""DiffusionSat's 2D ControlNet: conditioned on the metadata of the target and of the input images."""

import inspect
from typing import Any

from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers import ModelMixin as ModelMixin  # as in unet.py
from diffusers.configuration_utils import register_to_config
from diffusers.models.controlnets.controlnet import ControlNetOutput
from diffusers.models.embeddings import TimestepEmbedding
from torch import Tensor

from models.diffusionsat.arguments import added_to
from models.diffusionsat.embedding import MetadataEmbedding, NullMetadata
from models.diffusionsat.metadata import MetadataError

PARENT_ARGUMENTS = tuple(inspect.signature(ControlNetModel.__init__).parameters)[1:]


class SatControlNet(ControlNetModel):  # type: ignore[misc]
    """diffusers' ControlNetModel with the metadata of target and condition added to the timestep embedding.

    Both go through the same seven embeddings and are summed, as in the released models. K conditioning images are
    concatenated on the channels: `conditioning_channels` = K * channels of one.
    """

    time_embedding: TimestepEmbedding

    @register_to_config  # type: ignore[untyped-decorator]
    @added_to(ControlNetModel)
    def __init__(
        self,
        *,
        conditioning_downsampling: int = 8,  # pixels of the condition per latent cell: 8, 4, 2 or 1
        use_metadata: bool = True,
        num_metadata: int = 7,
        null_metadata: NullMetadata = "zero",  # as the released models; "learned" for new trainings
        **arguments: Any,  # noqa: ANN401 (the parent's)
    ) -> None:
        # register_to_config has put every argument into the config already; the parent rejects unknown ones.
        super().__init__(**{name: self.config[name] for name in PARENT_ARGUMENTS} | arguments)
        self.metadata_embedding: MetadataEmbedding | None = None
        if use_metadata:
            width, embedding_dim = self.config.block_out_channels[0], self.time_embedding.linear_2.out_features
            self.time_embedding = _TimePlusMetadata(width, embedding_dim, act_fn=self.config.act_fn)
            self.metadata_embedding = MetadataEmbedding(
                num_metadata,
                width,
                embedding_dim,
                flip_sin_to_cos=self.config.flip_sin_to_cos,
                freq_shift=self.config.freq_shift,
                null_metadata=null_metadata,
            )
        for level, convolution in enumerate(self.controlnet_cond_embedding.blocks[1::2]):
            convolution.stride = (2, 2) if 2**level < conditioning_downsampling else (1, 1)

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:  # noqa: ANN401 (diffusers' own)
        """Read a config, including one with DiffusionSat's names."""
        return super().extract_init_dict(modern_names(config_dict), **kwargs)

    @classmethod
    def from_unet(
        cls,
        unet: UNet2DConditionModel,
        controlnet_conditioning_channel_order: str = "rgb",
        conditioning_embedding_out_channels: tuple[int, ...] = (16, 32, 96, 256),
        load_weights_from_unet: bool = True,
        conditioning_channels: int = 3,
        *,
        null_metadata: NullMetadata = "learned",
        **settings: Any,  # noqa: ANN401 (arguments of this class or a subclass)
    ) -> "SatControlNet":
        """Copy the UNet's encoder and, if it has them, its metadata embeddings.

        Newly initialised: the conditioning embedding, temporal layers, and the metadata embeddings if the UNet has
        none. Zero convolutions make step 0 equal to the base (ControlNet, section 3.1).

        Args:
            unet: the denoiser, with or without metadata.
            controlnet_conditioning_channel_order: see ControlNetModel.
            conditioning_embedding_out_channels: widths of the conditioning embedding.
            load_weights_from_unet: False initialises all weights anew.
            conditioning_channels: of the conditioning image, or of all of them together.
            null_metadata: how an unknown value is embedded. A learned null that the UNet lacks starts at its
                embedding of 0, so that nothing changes at first.
            settings: further arguments of the class: `conditioning_downsampling`, `use_temporal_transformer`, ...
        """
        of_unet = {name: unet.config[name] for name in PARENT_ARGUMENTS if name in unet.config}
        if getattr(unet, "metadata_embedding", None) is not None:
            of_unet["num_metadata"] = unet.config.num_metadata
        controlnet: SatControlNet = cls(
            **of_unet
            | {
                "controlnet_conditioning_channel_order": controlnet_conditioning_channel_order,
                "conditioning_embedding_out_channels": tuple(conditioning_embedding_out_channels),
                "conditioning_channels": conditioning_channels,
                "null_metadata": null_metadata,
            }
            | settings
        )
        if load_weights_from_unet:
            theirs = dict(unet.named_children())
            for name, ours in controlnet.named_children():
                if isinstance(ours, MetadataEmbedding) and name in theirs:
                    ours.copy_from(theirs[name])
                elif name in theirs:
                    ours.load_state_dict(theirs[name].state_dict())
        return controlnet

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor,
        controlnet_cond: Tensor,
        conditioning_scale: float = 1.0,
        class_labels: Tensor | None = None,
        timestep_cond: Tensor | None = None,
        attention_mask: Tensor | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guess_mode: bool = False,
        return_dict: bool = True,
        *,
        metadata: Tensor | None = None,
        cond_metadata: Tensor | None = None,
    ) -> ControlNetOutput | tuple[list[Tensor], Tensor]:
        """The residuals for the UNet's skip connections; arguments and result as in ControlNetModel.

        Args:
            sample: (N, C, h, w) noisy latents.
            timestep: (N,), or one for all.
            encoder_hidden_states: (N, tokens, cross_attention_dim).
            controlnet_cond: (N, conditioning_channels, H, W) in [0, 1], H = h * conditioning_downsampling.
            conditioning_scale: strength of the residuals.
            class_labels: see ControlNetModel, also for the following.
            timestep_cond: not used by ControlNets.
            attention_mask: ditto.
            added_cond_kwargs: ditto.
            cross_attention_kwargs: ditto.
            guess_mode: ditto.
            return_dict: ditto.
            metadata: (N, 7) of the target: float32 from `normalise_metadata`, NaN = unknown. Without it,
                all fields are unknown.
            cond_metadata: (N, 7), or (N, 7, K) for K conditioning images. Without it, nothing is added for them.

        Raises:
            MetadataError: wrong shape or precision, or a network made without metadata.
        """
        if self.metadata_embedding is not None:
            if metadata is None:
                metadata = self.metadata_embedding.unknown(1, sample.device)
            timestep_cond = self.metadata_embedding(metadata, sample.dtype)
            if cond_metadata is not None:
                timestep_cond = timestep_cond + self.metadata_embedding(cond_metadata, sample.dtype)
        elif metadata is not None or cond_metadata is not None:
            raise MetadataError("this ControlNet was made without metadata (use_metadata is false). Pass none.")
        residuals: ControlNetOutput | tuple[list[Tensor], Tensor] = super().forward(
            sample,
            timestep,
            encoder_hidden_states,
            controlnet_cond,
            conditioning_scale=conditioning_scale,
            class_labels=class_labels,
            timestep_cond=timestep_cond,
            attention_mask=attention_mask,
            added_cond_kwargs=added_cond_kwargs,
            cross_attention_kwargs=cross_attention_kwargs,
            guess_mode=guess_mode,
            return_dict=return_dict,
        )
        return residuals


def modern_names(config: dict[str, Any]) -> dict[str, Any]:
    """A ControlNet config of DiffusionSat's with today's names; any other is returned unchanged.

    DiffusionSat's `conditioning_scale` is the factor by which the condition is smaller than the target, not a strength.
    """
    config = dict(config)
    if "conditioning_in_channels" in config:
        config["conditioning_channels"] = config.pop("conditioning_in_channels")
    if "conditioning_scale" in config:
        config["conditioning_downsampling"] = 8 // config.pop("conditioning_scale")
    return config


class _TimePlusMetadata(TimestepEmbedding):  # type: ignore[misc]
    """The timestep embedding plus the condition; ControlNetModel.forward has no other entry point."""

    def forward(self, sample: Tensor, condition: Tensor | None = None) -> Tensor:
        embedded: Tensor = super().forward(sample)
        return embedded if condition is None else embedded + condition
