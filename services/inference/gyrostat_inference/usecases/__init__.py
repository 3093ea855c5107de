"""What inference can do: answer, follow the plan, ship what it answered."""
