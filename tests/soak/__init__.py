"""All of Berth under a steady load for half an hour: what grows, grows without end."""
