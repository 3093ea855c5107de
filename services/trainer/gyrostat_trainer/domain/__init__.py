"""What the trainer knows: causes, the policy that acts on them, runs and their steps, and the numbers of the gates."""
