"""A torch.nn.Module of one's own as a model of Reelwright."""
