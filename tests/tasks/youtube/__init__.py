"""Videos and their captions, without the network: scripted answers replace YouTube's."""
