"""A JSON configuration of the replaced system, as its guide shows it."""

GUIDE = """{
  // Step 3 of the guide
  "use_generator": true,
  "use_pretrained_generators": true,
  "generator_load_checkpoint": true,
  "generator_checkpoint_dir": "checkpoints/generators/vegas-2n-2c-200s",  // "not" a comment: //
  "generator_training_mode": false,  /* NO training! */
  "adapter_load_checkpoint": true,
  "adapter_checkpoint_dir": "checkpoints/adapters/vegas-2n-2c-200s",
  "global_model_train": false,
  "generate_nodes_images_frequency": 1,
  "generate_from_clip_text_embeddings": true,
  "generate_from_t5_text_embeddings": false,
  "images_output_dir": "output_images/vegas-2n-2c-200s-generate",
  "num_clients": 3,
  "nodes": {
    "0": {"selected_classes": ["dog"], "samples_per_node": 200},
    "1": {"selected_classes": ["chainsaw"], "samples_per_node": 200,},  # two nodes
  },
  "global_rounds": 1,
  "local_epochs": 1,
}"""
