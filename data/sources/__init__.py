"""What a user brings: releases and manifests, labels, events, histories, the scenes of a build."""
