"""What inference hears (serving.plan) and says (plan.applied, prediction.logged)."""
