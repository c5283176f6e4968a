"""Who draws the avatar: one actor, and engines that run mflux or what stands in for it."""
