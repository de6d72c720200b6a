"""What things cost: ratios inside one interleaved run, beside the noise of the machine."""
