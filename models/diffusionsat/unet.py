"""DiffusionSat's denoiser: Stable Diffusion's UNet, also conditioned on where, when and how an image was taken."""

import inspect
from typing import Any

from diffusers import ModelMixin as ModelMixin  # diffusers looks it up in the module of a saved pipeline's classes
from diffusers import UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn

from models.diffusionsat.arguments import added_to
from models.diffusionsat.embedding import MetadataEmbedding, NullMetadata
from models.diffusionsat.metadata import MetadataError

PARENT_ARGUMENTS = tuple(inspect.signature(UNet2DConditionModel.__init__).parameters)[1:]


class SatUNet(UNet2DConditionModel):  # type: ignore[misc]
    """diffusers' UNet2DConditionModel with a metadata embedding added to the timestep embedding.

    Configs and weights of the released models load unchanged. All features of Stable Diffusion's UNet (gradient
    checkpointing, attention processors, LoRA, ControlNet residuals) are available.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    @added_to(UNet2DConditionModel)
    def __init__(
        self,
        *,
        use_metadata: bool = True,
        num_metadata: int = 7,
        null_metadata: NullMetadata = "zero",  # as the released models; "learned" for new trainings
        **arguments: Any,  # noqa: ANN401 (the parent's)
    ) -> None:
        # register_to_config has put every argument into the config already; the parent rejects unknown ones.
        super().__init__(**{name: self.config[name] for name in PARENT_ARGUMENTS} | arguments)
        self.metadata_embedding: MetadataEmbedding | None = None
        if use_metadata:
            self.metadata_embedding = MetadataEmbedding(
                num_metadata,
                self.config.block_out_channels[0],
                self.time_embedding.linear_2.out_features,
                flip_sin_to_cos=self.config.flip_sin_to_cos,
                freq_shift=self.config.freq_shift,
                null_metadata=null_metadata,
            )

    @classmethod
    def from_unet(cls, unet: UNet2DConditionModel, *, null_metadata: NullMetadata = "learned") -> "SatUNet":
        """A plain UNet prepared for metadata, as DiffusionSat was derived from Stable Diffusion 2.1.

        There the new embeddings were initialised randomly. Here their last layers are zero: the output is unchanged.
        """
        config = {name: unet.config[name] for name in PARENT_ARGUMENTS if name in unet.config}
        sat_unet: SatUNet = cls(**config, null_metadata=null_metadata)
        sat_unet.load_state_dict(unet.state_dict(), strict=False)
        for name, weight in sat_unet.named_parameters():
            if name.startswith("metadata_embedding.") and ".linear_2." in name:
                nn.init.zeros_(weight)
        return sat_unet

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor,
        class_labels: Tensor | None = None,
        timestep_cond: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
        down_block_additional_residuals: tuple[Tensor, ...] | None = None,
        mid_block_additional_residual: Tensor | None = None,
        down_intrablock_additional_residuals: tuple[Tensor, ...] | None = None,
        encoder_attention_mask: Tensor | None = None,
        return_dict: bool = True,
        *,
        metadata: Tensor | None = None,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """Predict the denoising target; arguments and result as in UNet2DConditionModel.

        Args:
            sample: (N, C, h, w) noisy latents.
            timestep: (N,), or one for all.
            encoder_hidden_states: (N, tokens, cross_attention_dim).
            class_labels: see UNet2DConditionModel, also for the following.
            timestep_cond: ditto.
            attention_mask: ditto.
            cross_attention_kwargs: ditto.
            added_cond_kwargs: ditto.
            down_block_additional_residuals: of a ControlNet.
            mid_block_additional_residual: of a ControlNet.
            down_intrablock_additional_residuals: of a T2I adapter.
            encoder_attention_mask: ditto.
            return_dict: ditto.
            metadata: (N, 7) float32 from `normalise_metadata`, NaN = unknown. Without it, all fields are unknown.

        Raises:
            MetadataError: wrong shape or precision, or a UNet made without metadata.
        """
        added = dict(added_cond_kwargs or {})
        if metadata is not None:
            added["metadata"] = metadata
        prediction: UNet2DConditionOutput | tuple[Tensor] = super().forward(
            sample,
            timestep,
            encoder_hidden_states,
            class_labels=class_labels,
            timestep_cond=timestep_cond,
            attention_mask=attention_mask,
            cross_attention_kwargs=cross_attention_kwargs,
            added_cond_kwargs=added,
            down_block_additional_residuals=down_block_additional_residuals,
            mid_block_additional_residual=mid_block_additional_residual,
            down_intrablock_additional_residuals=down_intrablock_additional_residuals,
            encoder_attention_mask=encoder_attention_mask,
            return_dict=return_dict,
        )
        return prediction

    def get_aug_embed(
        self, emb: Tensor, encoder_hidden_states: Tensor, added_cond_kwargs: dict[str, Any]
    ) -> Tensor | None:
        """The sum (N, D) added to the timestep embedding: diffusers' own and the metadata embedding."""
        added: Tensor | None = super().get_aug_embed(emb, encoder_hidden_states, added_cond_kwargs)
        metadata = added_cond_kwargs.get("metadata")
        if self.metadata_embedding is None:
            if metadata is not None:
                raise MetadataError("this UNet was made without metadata (use_metadata is false). Pass none.")
            return added
        if metadata is None:
            metadata = self.metadata_embedding.unknown(1, emb.device)
        embedded: Tensor = self.metadata_embedding(metadata, emb.dtype)
        if added is not None:
            embedded = embedded + added
        return embedded
