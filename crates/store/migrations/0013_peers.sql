-- Whom the devices of an app may write to of themselves: `none`, `app` or `any`.
ALTER TABLE apps ADD COLUMN peers TEXT NOT NULL DEFAULT 'app';
