"""Why a step failed, found out by looking, and the words for it. Cold."""
